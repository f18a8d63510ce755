"""Keeps Airflow's own database small, once a day: what is older than TRADU_AIRFLOW_RETENTION_DAYS is deleted.

The ledger looks after itself by partitions and autovacuum, which `tradu_watchdog` watches. With the parameter `dry_run`
rows are counted and stay. A second run finds nothing left to delete.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag, task

from tradu_airflow.stages import alert, measure


@dag(
    dag_display_name="Tradu: upkeep",
    schedule="30 3 * * *",
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=4),
    tags=["tradu"],
    doc_md=__doc__,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    params={"dry_run": Param(False, type="boolean", title="Dry run", description="Count, and delete nothing.")},
)
def tradu_upkeep() -> None:
    """Clean Airflow's metadata."""

    @task(on_failure_callback=alert)
    def clean_airflow(params: dict[str, bool]) -> dict[str, int]:
        """How many rows were deleted, or would be."""
        from tradu.stack.airflow_clean import clean_now

        return measure({"airflow_rows": clean_now(dry_run=params["dry_run"])})

    clean_airflow()


tradu_upkeep()
