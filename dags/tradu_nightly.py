"""Translates every night what is new in the landing prefix, each group of documents by a run of `tradu_translate`.

New is what no job of the same languages and profile has settled, by content. A second run the same night, or a run
after a crash, finds the same groups under the same idempotency keys, so it goes on where the first one stopped.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import dag, task

from tradu.settings import get_settings
from tradu_airflow.retries import PATIENT

AT_ONCE = 32
"""Jobs that a night has asked for and that have not ended: fewer than may wait of a tenant (`most_deferred`)."""


@dag(
    dag_display_name="Tradu: nightly",
    schedule=get_settings().nightly_schedule,
    catchup=False,
    max_active_runs=1,
    tags=["tradu"],
    doc_md=__doc__,
    default_args=PATIENT,
)
def tradu_nightly() -> None:
    """Pick, translate, report."""

    @task
    def pick() -> list[dict[str, Any]]:
        """A conf per group of new documents."""
        from tradu import nightly
        from tradu.ledger.connection import get_ledger

        requests = nightly.pick(get_settings(), get_ledger("task"))
        nightly.load_ahead(requests, get_settings(), get_ledger("task"))
        return [request.conf() for request in requests]

    @task(trigger_rule="all_done")
    def report(confs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """How tonight's jobs ended; fails where one did not end COMPLETED or PARTIAL."""
        from tradu import nightly
        from tradu.ledger.connection import get_ledger

        return nightly.report(confs, get_ledger("task"))

    confs = pick()
    translate = TriggerDagRunOperator.partial(
        task_id="translate",
        trigger_dag_id="tradu_translate",
        wait_for_completion=True,
        deferrable=True,
        poke_interval=5,
        max_active_tis_per_dagrun=AT_ONCE,
    ).expand(conf=confs)
    translate >> report(confs)


tradu_nightly()
