"""Brings archived jobs back to hot: one job, every job that has a document, or those of a span of time.

`thaw` asks for archives that lie in Glacier and waits for them without a slot. A run may be repeated at any time.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task

from tradu_airflow.retries import PATIENT
from tradu_airflow.thaw import ThawOperator

DAY = {"type": ["null", "string"], "format": "date"}


@dag(
    dag_display_name="Tradu: restore",
    schedule=None,
    catchup=False,
    max_active_runs=4,
    tags=["tradu"],
    params={
        "job_id": Param(
            None, type=["null", "string"], format="uuid", title="Job", description="An archived job. Empty: any."
        ),
        "document_id": Param(
            None,
            type=["null", "string"],
            pattern="^[0-9a-f]{64}$",
            title="Document",
            description="SHA-256 of a document: every archived job that has it. Empty: any.",
        ),
        "since": Param(None, **DAY, title="Since", description="Jobs made on this day (UTC) or later."),
        "until": Param(None, **DAY, title="Until", description="Jobs made before this day (UTC)."),
    },
    doc_md=__doc__,
    default_args=PATIENT,
)
def tradu_restore() -> None:
    """Plan, thaw, restore."""

    @task
    def plan(params: Any = None) -> list[list[str]]:
        """The jobs in groups, at most 32."""
        from tradu.archival import run

        return run.plan_restore(**dict(params))

    @task(max_active_tis_per_dagrun=8)
    def restore(jobs: list[str]) -> int:
        """How many jobs of a group were brought back."""
        from tradu.archival import run

        return run.restore_jobs(jobs)

    groups = plan()
    thaw = ThawOperator.partial(task_id="thaw").expand(jobs=groups)
    thaw >> restore.expand(jobs=groups)


tradu_restore()
