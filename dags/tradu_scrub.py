"""Reads a sample of archived objects again every week, and compares their checksums; fails where one is damaged.

The archives that were looked at longest ago come first: in time all are. `tradu incidents` says what is damaged.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, task

from tradu_airflow.stages import alert


@dag(
    dag_display_name="Tradu: scrub",
    schedule="30 5 * * 0",
    catchup=False,
    max_active_runs=1,
    tags=["tradu"],
    doc_md=__doc__,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
)
def tradu_scrub() -> None:
    """Look."""

    @task
    def scrub() -> dict[str, int]:
        """What was looked at."""
        from tradu.archival import scrub

        return scrub.scrub_sample().counts()

    # without retries: a second try finds the same
    @task(retries=0, on_failure_callback=alert)
    def tell(found: dict[str, int]) -> None:
        """Fail where an archive is damaged."""
        if found["damaged"]:
            raise RuntimeError(f"{found['damaged']} archived objects are damaged: `tradu incidents` says which")

    tell(scrub())


tradu_scrub()
