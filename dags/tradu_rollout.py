"""Takes the steps of running rollouts: on with a candidate that is no worse, back with one that is.

A candidate that breaks blocks is rolled back by the workers themselves, with the batch that shows it. This DAG takes
the decisions that can wait for a sample: the next step, or back for a lower score, more time or more cost. `tradu
rollout status` shows what they rest on.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, task


@dag(
    dag_display_name="Tradu: rollouts",
    schedule="*/5 * * * *",
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=5),
    tags=["tradu"],
    doc_md=__doc__,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
)
def tradu_rollout() -> None:
    """Look, decide."""

    @task
    def step() -> dict[str, int]:
        """How many rollouts were held, promoted and rolled back."""
        from tradu.ledger.connection import get_ledger
        from tradu.rollouts import steps

        return steps.look(get_ledger("rollout"))

    step()


tradu_rollout()
