"""Removes for ever what is older than the policy, once a week; or, started with a document or a tenant, that one.

Archives in Glacier that have the document are asked for by `thaw`, and waited for without a slot. Legal hold stops it.
What was removed is certified in the table `erasures`, without names or text: docs/archive.md.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task

from tradu_airflow.retries import PATIENT
from tradu_airflow.stages import alert
from tradu_airflow.thaw import ThawOperator


@dag(
    dag_display_name="Tradu: purge",
    schedule="30 4 * * 0",
    catchup=False,
    max_active_runs=16,  # each may wait for Glacier for hours, and holds up no other
    tags=["tradu"],
    params={
        "document_id": Param(
            None,
            type=["null", "string"],
            pattern="^[0-9a-f]{64}$",
            title="Document",
            description="SHA-256 of a document that is erased everywhere.",
        ),
        "tenant": Param(
            None,
            type=["null", "string"],
            pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
            title="Tenant",
            description="A tenant all of whose jobs are erased.",
        ),
    },
    doc_md=__doc__,
    default_args=PATIENT,
)
def tradu_purge() -> None:
    """Erase what was asked for, purge what is due."""

    @task(on_failure_callback=alert)
    def archives(params: Any = None) -> list[str]:
        """Archived jobs that have the document."""
        from tradu.archival import erase

        return erase.archives_to_read(params["document_id"])

    @task(max_active_tis_per_dag=1, on_failure_callback=alert)
    def erase(params: Any = None) -> dict[str, int]:
        """What was erased on request."""
        from tradu.archival import erase

        return erase.on_request("tradu_purge", **dict(params))

    @task
    def plan(_erased: Any) -> list[list[int]]:
        """Groups of jobs that are due, each as its number and how many there are."""
        from tradu.archival import run

        return run.plan(run.PURGING)

    @task(max_active_tis_per_dag=8, on_failure_callback=alert)
    def purge(group: list[int]) -> dict[str, int]:
        """What was done with the jobs of a group."""
        from tradu.archival import run

        return run.run_now(run.PURGING, "tradu_purge", *group).counts()

    thaw = ThawOperator(task_id="thaw", jobs=archives(), on_failure_callback=alert)
    erased = erase()
    thaw >> erased
    purge.expand(group=plan(erased))


tradu_purge()
