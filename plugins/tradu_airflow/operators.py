"""The operators of the line: one admits a job, one hands a shard to Dask, one has a person decide at a gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.providers.standard.operators.python import ShortCircuitOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import BaseOperator, get_current_context
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

from tradu_airflow.triggers import ShardTrigger, TurnTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class AdmitOperator(ShortCircuitOperator):
    """Makes or finds the job of a run's Params, and gives its id; skips all that follows where it is complete already.

    A job that has to wait for its turn waits in a trigger. Then the operator asks again, as a retry would: the job's
    key finds it.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(python_callable=_admit, **kwargs)

    def execute(self, context: Context, event: dict[str, Any] | None = None) -> str | None:
        """The job's id, when it runs."""
        return super().execute(context)  # type: ignore[no-any-return]


def _admit() -> str | None:
    from tradu import line
    from tradu.ledger.jobs import JobRequest
    from tradu.ledger.states import JobState

    context = get_current_context()
    asked, run_id = dict(context["params"]), context["run_id"]
    asked["idempotency_key"] = asked["idempotency_key"] or run_id
    admission = line.admit(JobRequest(request_id=run_id, **asked), run_id)
    if admission.state == JobState.DEFERRED:
        raise TaskDeferred(trigger=TurnTrigger(str(admission.job_id)), method_name="execute")
    return str(admission.job_id) if admission.proceed else None


class ShardOperator(BaseOperator):
    """Translates a shard of a job on the Dask cluster.

    Each pass looks in the ledger for what is still open and adopts what the cluster still works on, so that a retry,
    a cleared task or a second attempt beside the first does no harm. Then it defers; the trigger ends the task.

    Args:
        job_id: the job.
        shard: number of the shard in the job.
    """

    template_fields: Sequence[str] = ("job_id", "shard")
    ui_color = "#d5e8d4"

    def __init__(self, *, job_id: str, shard: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.shard = shard

    def execute(self, context: Context) -> None:
        """Submit what is open and wait for it without a slot."""
        from tradu import line

        line.take_up(self.job_id, context["run_id"])
        self._submit()

    def resume(self, context: Context, event: dict[str, Any]) -> None:
        """The trigger saw a shard that nothing works on: submit what is open again."""
        self.log.warning("shard %s of job %s: %s", self.shard, self.job_id, event["why"])
        self._submit()

    def _submit(self) -> None:
        from tradu.cluster import dispatch
        from tradu.ledger.connection import get_ledger
        from tradu.settings import get_settings

        submission = dispatch.submit(UUID(self.job_id), int(self.shard), get_ledger("task"), get_settings())
        if not submission.batches:
            self.log.info("nothing of shard %s is open", self.shard)
            return
        verb = "adopted" if submission.adopted else "submitted"
        self.log.info("%s %d batches, epoch %d", verb, submission.batches, submission.epoch)
        self.defer(trigger=ShardTrigger(job_id=self.job_id, shard=int(self.shard)), method_name="resume")


class AskOperator(TriggerDagRunOperator):
    """Starts a run of `tradu_decide` where a gate has stopped the job: a person decides there what becomes of it.

    The stopped run ends meanwhile: it holds none of the places for runs, however long the answer takes.

    Args:
        job_id: the job.
    """

    template_fields: Sequence[str] = ("job_id",)

    def __init__(self, *, job_id: str | None, **kwargs: Any) -> None:
        super().__init__(trigger_dag_id="tradu_decide", logical_date=None, skip_when_already_exists=True, **kwargs)
        self.job_id = job_id

    def execute(self, context: Context) -> None:
        """Ask, where there is something to ask."""
        if self.job_id is None:
            raise AirflowSkipException("the request was refused: there is no job")
        from tradu.ledger import jobs
        from tradu.ledger.connection import get_ledger

        ledger = get_ledger("task")
        job = jobs.find(UUID(self.job_id), ledger)
        if job.stopped_by is None:
            raise AirflowSkipException("no gate has stopped this job")
        ((answered,),) = ledger.tuples("count_decisions", job_id=job.job_id, gate=job.stopped_by)
        self.conf = {"job_id": self.job_id, "gate": job.stopped_by, "found": job.reason or ""}
        # tried again it asks nothing anew; stopped again after an answer it does
        self.trigger_run_id = f"{job.stopped_by}__{context['run_id']}{f'__{answered}' if answered else ''}"
        super().execute(context)
