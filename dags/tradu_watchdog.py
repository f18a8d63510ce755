"""Looks every minute whether anything is stuck, lost or slow, and sets right what can be. A backstop.

Claims take expired leases by themselves, and shards that nothing works on are submitted again by their triggers: the
line recovers without this DAG. It finds what those can't see, and tells people: `tell` fails when something needs
them, and its callback posts the reason to TRADU_ALERT_URL. So does `look`, where it can't look.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, task

from tradu.settings import get_settings
from tradu_airflow.stages import alert, end_lost_jobs, measure


@dag(
    dag_display_name="Tradu: watchdog",
    schedule=get_settings().watchdog_schedule,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=10),
    tags=["tradu"],
    doc_md=__doc__,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
)
def tradu_watchdog() -> None:
    """Look, set right, tell."""

    # with a limit: a run that ends by its own has its tasks skipped, and nobody is told
    @task(on_failure_callback=alert, execution_timeout=timedelta(minutes=2))
    def look() -> dict[str, int]:
        """What was found and done, by kind."""
        from tradu import watchdog

        return measure(watchdog.look() | end_lost_jobs())

    # without retries: each thing is said once in half an hour, and a second try would find nothing to say
    @task(retries=0, on_failure_callback=alert)
    def tell(_looked: dict[str, int]) -> None:
        """Fail where a person is needed, with what for."""
        from tradu import watchdog

        watchdog.tell()

    tell(look())


tradu_watchdog()
