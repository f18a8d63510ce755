"""Has a person decide about a job that a gate has stopped, under *Required actions* in the Airflow UI.

Accept: the job goes on, what is bad is quarantined. Retry with a higher tier: what the gate on translations refused is
translated with the next profile; after another gate the job is run again as it is. Drop: the job stays in ERROR.
Without an answer the job is dropped when TRADU_DECISION_DAYS have passed. `tradu decide` does the same.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Param, dag, get_current_context, task

from tradu.settings import get_settings
from tradu_airflow.retries import PATIENT

OPTIONS = {"Accept": "accept", "Retry with a higher tier": "retry", "Drop": "drop"}


@dag(
    dag_display_name="Tradu: decide",
    schedule=None,
    catchup=False,
    max_active_runs=1_000,
    tags=["tradu"],
    params={
        "job_id": Param(None, type="string", format="uuid", title="Job", description="A job that a gate has stopped."),
        "gate": Param("", type="string", title="Gate", description="Which gate."),
        "found": Param("", type="string", title="Found", description="What it found."),
    },
    doc_md=__doc__,
    default_args=PATIENT,
)
def tradu_decide() -> None:
    """Ask, carry out, go on."""
    answer = HITLOperator(
        task_id="ask",
        subject="Gate {{ params.gate }} stopped job {{ params.job_id }}",
        body="{{ params.found }}",
        options=list(OPTIONS),
        defaults=["Drop"],
        response_timeout=timedelta(days=get_settings().decision_days),
    )

    @task.short_circuit
    def carry_out(answer: dict[str, Any]) -> dict[str, Any] | None:
        """The conf of the run that goes on with the job; nothing, and so no run, where it was dropped."""
        from tradu import line

        by = (answer.get("responded_by_user") or {}).get("name") or "nobody in time"
        context = get_current_context()
        asked, chosen = context["params"], OPTIONS[answer["chosen_options"][0]]
        return line.decide(asked["job_id"], asked["gate"], chosen, by, context["run_id"])

    conf = carry_out(answer.output)
    conf >> TriggerDagRunOperator(
        task_id="go_on",
        trigger_dag_id="tradu_translate",
        trigger_run_id="decided__{{ run_id }}",  # tried again, it finds the run that it has started
        skip_when_already_exists=True,
        logical_date=None,
        conf="{{ ti.xcom_pull(task_ids='carry_out') | tojson }}",
    )


tradu_decide()
