"""Brings every day what is old from hot to its archive, and archives that are old enough to the cold tier.

Mapped over groups of jobs, at most 32. A run may be repeated at any time, and one that was killed at any step is
finished by the next: docs/archive.md. `report` returns bytes and cost of each tier, and what this run saves in a month.
Started with a job, it archives that one, however young.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task

from tradu_airflow.retries import PATIENT
from tradu_airflow.stages import alert


@dag(
    dag_display_name="Tradu: archive",
    schedule="30 3 * * *",
    catchup=False,
    max_active_runs=1,
    tags=["tradu"],
    params={
        "job_id": Param(
            None,
            type=["null", "string"],
            format="uuid",
            title="Job",
            description="A job that is archived now, however young. Empty: all that is due.",
        ),
    },
    doc_md=__doc__,
    default_args=PATIENT,
)
def tradu_archive() -> None:
    """Plan, archive, report."""

    @task
    def plan(params: Any = None) -> list[list[int]]:
        """Groups of jobs, each as its number and how many there are."""
        from tradu.archival import run

        return run.plan(run.ARCHIVING, params["job_id"])

    @task(max_active_tis_per_dagrun=8, on_failure_callback=alert)
    def archive(group: list[int], params: Any = None) -> dict[str, int]:
        """What was done with the jobs of a group."""
        from tradu.archival import run

        return run.run_now(run.ARCHIVING, "tradu_archive", *group, job_id=params["job_id"]).counts()

    @task(trigger_rule="none_failed")
    def report(done: Any) -> dict[str, Any]:
        """Bytes and cost of each tier, and what this run saves."""
        from tradu.archival import report

        return report.after_run(list(done or ()))

    report(archive.expand(group=plan()))


tradu_archive()
