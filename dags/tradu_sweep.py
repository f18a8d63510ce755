"""Goes through the store every hour: objects that no row names, and rows whose object is missing.

Halves of killed writes and results of refused attempts are removed; the rest is told (`tradu incidents`).
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, task

from tradu_airflow.stages import alert, measure


@dag(
    dag_display_name="Tradu: sweep",
    schedule="@hourly",
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    tags=["tradu"],
    doc_md=__doc__,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
)
def tradu_sweep() -> None:
    """Look through the store."""

    @task(on_failure_callback=alert)
    def sweep() -> dict[str, int]:
        """What was found and removed, by kind."""
        from tradu import watchdog

        return measure(watchdog.sweep())

    sweep()


tradu_sweep()
