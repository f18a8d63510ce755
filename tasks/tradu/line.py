"""The production line, stage by stage: what a DAG's tasks call, and what runs without Airflow as well."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tradu import telemetry
from tradu.errors import GateStopError, RequestError, SystemicError
from tradu.ledger import decisions, jobs, objects, rewind
from tradu.ledger import documents as ledger_documents
from tradu.ledger.connection import Ledger, get_ledger, instance_id
from tradu.ledger.leases import stage_lease
from tradu.ledger.rows import BatchSize, Document, Job
from tradu.ledger.states import Decision, DocumentState, JobState
from tradu.settings import Settings, get_settings
from tradu.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from tradu.assembly.publish import Published
    from tradu.inference.registry import Registry
    from tradu.partitioning.partition import Partitioned
    from tradu.quality.gates import Verdict

log = logging.getLogger(__name__)
QUARANTINE_CHUNK = 5_000
MEASURED_SECONDS = 10.0
"""A route whose engines took less than this since yesterday has no measured pace."""
QUARANTINED_IN_LOG = 100
"""A gate logs so many blocks one by one; `tradu blocks JOB --state ERROR` lists them all."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """A gate's judgement as it goes through XCom: counts and a key, no text."""

    rows: int
    bad: int
    message: str
    data_docs: str | None


@dataclass(frozen=True, slots=True)
class _Context:
    job: Job
    ledger: Ledger
    store: Store
    settings: Settings


@contextmanager
def _working_on(job_id: str, stage: str) -> Iterator[_Context]:
    """The job with what its stages need, under the lease of the stage; its ids are on every log line.

    Raises:
        RequestError: the job was cancelled or has ended: there is nothing to work on.
    """
    settings, ledger = get_settings(), get_ledger("task")
    job = jobs.find(UUID(job_id), ledger)
    if job.state != JobState.RUNNING:
        raise RequestError(f"job {job_id} is {job.state}: {job.reason or 'nothing is left to do'}")
    rewind.check(ledger, Store(settings.store))
    with (
        telemetry.bound(job_id=job_id, request_id=job.request_id, stage=stage),
        stage_lease(ledger, job.job_id, stage, settings.lease_seconds, instance_id(stage)) as held,
    ):
        yield _Context(job, held, Store(settings.store, guard=held.check), settings)


def admit(request: jobs.JobRequest, run_id: str) -> jobs.Admission:
    """Check a request, make or find its job, and start it, or have it wait for its turn.

    Raises:
        RequestError: the request is wrong, no installed model leads from its source to a target, or too much of its
            tenant waits already.
    """
    from tradu.admission import load_policy, policy_of_running
    from tradu.documents.language import base
    from tradu.inference.registry import load_registry

    settings, ledger = get_settings(), get_ledger("task")
    registry = load_registry(settings)
    registry.profile(request.profile)
    for target in request.targets:
        if request.source != "auto" and base(request.source) != base(target):
            registry.routes(request.source, target, request.profile)
    rewind.check(ledger, Store(settings.store))
    is_known = bool(ledger.tuples("job_of_key", tenant=request.tenant, idempotency_key=request.idempotency_key))
    # one that has waited here is not ended by a mistake that was made in the policy meanwhile
    policy = policy_of_running(settings) if is_known else load_policy(settings)
    return jobs.admit(request, run_id, ledger.as_actor(instance_id("admit")), policy)


def ingest(job_id: str) -> int:
    """Copy the job's documents into the store and register them; how many files the job has.

    A job that was cut keeps the documents it was cut from: blocks, batches and parts are named by their places in them.
    What has come or changed meanwhile is another job's.
    """
    from tradu.ingestion.ingest import ingest as take_in

    with _working_on(job_id, "ingest") as c:
        with c.ledger.transaction(c.job.request_id) as tx:
            ((is_cut,),) = tx.tuples("is_cut", job_id=c.job.job_id)
            known = tx.rows("documents", Document, job_id=c.job.job_id) if is_cut else []
        if is_cut:
            return sum(len(d.paths) for d in known)
        return take_in(c.job, jobs.format_options(c.job), c.ledger, c.store, c.settings)


def gate_documents(job_id: str) -> GateResult:
    """Judge what came in; bad documents are quarantined.

    Raises:
        GateStopError: too many of them are bad.
    """
    from tradu.quality import frames

    with _working_on(job_id, "gate_documents") as c:
        verdict = _judge(c, "documents", frames.documents(c.job.job_id, c.ledger), "document_id")
        with c.ledger.transaction(c.job.request_id) as tx:
            errors = {d.document_id: d.error for d in tx.rows("documents", Document, job_id=c.job.job_id)}
            for document_id, reasons in verdict.bad.items():
                reason = "; ".join(reasons)
                told = errors.get(document_id) or reason
                if ledger_documents.end(tx, c.job.job_id, document_id, DocumentState.ERROR, reason, told):
                    with telemetry.bound(document_id=document_id):
                        log.warning("document quarantined: %s", told)
        return _result(verdict)


def partition(job_id: str) -> Partitioned:
    """Cut documents to segments, blocks and batches, and plan the shards; meanwhile the workers load the models."""
    from tradu.admission import policy_of_running
    from tradu.cluster.warm import warm
    from tradu.inference.registry import load_registry
    from tradu.inference.routes import pace_of
    from tradu.partitioning.partition import partition as cut
    from tradu.quality.checks import check_source

    with _working_on(job_id, "partition") as c:
        try:
            registry, profile = load_registry(c.settings), c.job.profile
        except RequestError as error:
            raise SystemicError(f"the registry can't be read, mend it: {error}") from error
        warm(c.ledger, c.settings, registry)  # the workers have until the first shard comes
        with c.ledger.transaction(c.job.request_id) as tx:
            measured: dict[str, float] = dict(tx.tuples("measured_paces", least_seconds=MEASURED_SECONDS))

        def cost(source: str, target: str) -> float:
            try:
                return registry.plan(source, target, profile).cpu_seconds_per_million_chars
            except RequestError:  # no model: its blocks are quarantined with that reason, at no cost
                return 0.0

        def pace(source: str, target: str) -> float | None:
            with suppress(RequestError):
                plan = registry.plan(source, target, profile)
                return pace_of(plan.rungs, plan.shares, measured)
            return None

        def leads(source: str, target: str) -> bool:
            with suppress(RequestError):
                return bool(registry.routes(source, target, profile))
            return False

        options = jobs.format_options(c.job)
        done = cut(
            c.job, options, c.ledger, c.store, c.settings, check=check_source, cost=cost, pace=pace, leads=leads,
            shard_seconds=policy_of_running(c.settings).shard_seconds,
        )  # fmt: skip
        with c.ledger.transaction(c.job.request_id) as tx:
            tx.run("measure_job", job_id=c.job.job_id)
        _refuse_if_too_dear(c, registry)
        return done


def _refuse_if_too_dear(c: _Context, registry: Registry) -> None:
    """A budget that is too small for the lowest tier alone is refused before anything is spent.

    Raises:
        RequestError: it is.
    """
    from tradu.inference.routes import cost_of

    if c.job.max_cost is None:
        return
    with c.ledger.transaction(c.job.request_id) as tx:
        batches = tx.rows("batches", BatchSize, job_id=c.job.job_id)
    seconds = 0.0
    for batch in batches:
        with suppress(RequestError):  # no model: its blocks are quarantined, at no cost
            lowest = registry.plan(batch.source, batch.target, c.job.profile).rungs[0]
            seconds += batch.characters / 1e6 * cost_of(lowest)
    least = seconds * c.settings.cpu_price_per_hour / 3600
    if least > c.job.max_cost:
        raise RequestError(
            f"the job may cost {c.job.max_cost:g}, and its lowest tier alone is expected to cost {least:.4g}: "
            "ask for it again with a larger max_cost"
        )


def gate_blocks(job_id: str) -> GateResult:
    """Judge the blocks before money is spent on them; bad ones are quarantined, in every language.

    Raises:
        GateStopError: too many of them are bad.
    """
    from tradu.quality import frames

    with _working_on(job_id, "gate_blocks") as c:
        verdict = _judge(c, "blocks", frames.blocks(c.job.job_id, c.ledger, c.store), "place")
        bad = {
            block: reasons for place, reasons in verdict.bad.items() for block in frames.blocks_of_place(c.job, place)
        }
        _quarantine(c, bad, "data")
        with c.ledger.transaction(c.job.request_id) as tx:
            tx.run("move_documents", job_id=c.job.job_id, state="TRANSLATING", from_states=["PARTITIONED"])
        return _result(verdict)


def waiting_shards(job_id: str) -> list[int]:
    """Shards with blocks that want a translation: what infer is mapped over."""
    with get_ledger("task").transaction() as tx:
        return [shard for (shard,) in tx.tuples("waiting_shards", job_id=UUID(job_id))]


def gate_translations(job_id: str) -> GateResult:
    """Judge the translations; bad blocks are quarantined, the others are COMPLETED.

    Raises:
        GateStopError: too many of them are bad.
    """
    from tradu.quality import frames

    with _working_on(job_id, "gate_translations") as c:
        verdict = _judge(c, "translations", frames.translations(c.job.job_id, c.ledger, c.store), "block_id")
        _quarantine(c, {UUID(block): reasons for block, reasons in verdict.bad.items()}, "model")
        while True:
            with c.ledger.transaction(c.job.request_id) as tx:
                if not tx.run("accept", job_id=c.job.job_id):
                    break
        return _result(verdict)


def assemble(job_id: str) -> int:
    """Rebuild the translated documents; how many were made."""
    from tradu.assembly.assemble import assemble as rebuild

    with _working_on(job_id, "assemble") as c:
        return rebuild(c.job, jobs.format_options(c.job), c.ledger, c.store)


def gate_output(job_id: str) -> GateResult:
    """Judge what was assembled; bad documents are not let out.

    Raises:
        GateStopError: too many of them are bad.
    """
    from tradu.quality import frames

    with _working_on(job_id, "gate_output") as c:
        verdict = _judge(c, "output", frames.outputs(c.job.job_id, c.ledger), "output_id")
        with c.ledger.transaction(c.job.request_id) as tx:
            for output_id, reasons in verdict.bad.items():
                document_id, target = output_id.split("/")
                key = {"job_id": c.job.job_id, "document_id": document_id, "target": target}
                tx.run("refuse_output", **key, reason="; ".join(reasons))
        return _result(verdict)


def publish(job_id: str) -> Published:
    """Let the output out with its manifest, and end the job.

    A second attempt, because the first one was lost after it had done this, finds it done.
    """
    from tradu.assembly.publish import publish as let_out
    from tradu.assembly.publish import published

    def done() -> Published | None:
        return published(jobs.find(UUID(job_id), get_ledger("task")), get_ledger("task"), Store(get_settings().store))

    try:
        with _working_on(job_id, "publish") as c:
            return let_out(c.job, c.ledger, c.store)
    except RequestError:
        if before := done():
            return before
        raise


def decide(job_id: str, gate: str, decision: str, by: str, question: str | None = None) -> dict[str, Any] | None:
    """Carry out what a person decided about a job that a gate has stopped: the conf of the run that goes on with it.

    None: nothing is to be run, because the job was dropped, or because it does not wait for this decision any more.
    The same answer to the same question (a run of `tradu_decide`) a second time gives the same.
    """
    job, ledger = jobs.find(UUID(job_id), get_ledger("task")), get_ledger("task").as_actor(instance_id("decide"))
    chosen = Decision(decision)
    if decisions.was_carried_out(ledger, job, question):
        return None if chosen is Decision.DROP or job.state != JobState.ERROR else jobs.conf_of(job)
    if job.stopped_by != gate:
        return None
    sent_back = []
    if chosen is Decision.RETRY and gate == "translations":
        sent_back = _bad_translations(job, ledger)
    decisions.carry_out(ledger, job, chosen, by, sent_back, question)
    return None if chosen is Decision.DROP else jobs.conf_of(job)


def take_up(job_id: str, run_id: str) -> None:
    """Start a job again whose own run had failed: somebody has cleared one of the run's tasks, and it goes on there."""
    job, ledger = jobs.find(UUID(job_id), get_ledger("task")), get_ledger("task").as_actor(instance_id("resume"))
    if job.state == JobState.ERROR and job.run_id == run_id:
        with ledger.transaction(job.request_id) as tx:
            tx.run("start_job", job_id=job.job_id, run_id=run_id, request_id=job.request_id)


def _bad_translations(job: Job, ledger: Ledger) -> list[UUID]:
    """The blocks that the gate refuses."""
    from tradu.quality import frames
    from tradu.quality.gates import judge_rows

    settings = get_settings()
    rows = frames.translations(job.job_id, ledger, Store(settings.store))
    return [UUID(b) for b in judge_rows("translations", rows, "block_id", max_bad_share=settings.max_bad_share).bad]


def fail(job_id: UUID, reason: str, ledger: Ledger) -> bool:
    """End a running job in ERROR; false where it has ended already."""
    with ledger.transaction() as tx:
        return tx.run("end_job", job_id=job_id, state=JobState.ERROR, reason=reason) > 0


def _judge(c: _Context, gate: str, rows: Iterable[pd.DataFrame], key: str) -> Verdict:
    from tradu.quality.gates import judge_rows

    docs = f"gates/{c.job.job_id}/{gate}"
    verdict = judge_rows(gate, rows, key, store=c.store, docs=docs, max_bad_share=c.settings.max_bad_share)
    with c.ledger.transaction(c.job.request_id) as tx:
        if verdict.docs:
            objects.add(tx, c.job.job_id, verdict.docs)
        if not verdict.stopped:
            return verdict
        accepted = tx.tuples("use_acceptance", job_id=c.job.job_id, gate=gate, run_id=c.job.run_id)
        if accepted:
            return replace(verdict, stopped=False, message=f"{verdict.message} Accepted by {accepted[0][0]}.")
        tx.run("stop_job", job_id=c.job.job_id, reason=verdict.message, gate=gate)
    raise GateStopError(verdict.message, verdict.docs.key if verdict.docs else None)


def _quarantine(c: _Context, bad: dict[UUID, tuple[str, ...]], error_class: str) -> None:
    items = list(bad.items())
    for block, reasons in items[:QUARANTINED_IN_LOG]:
        with telemetry.bound(block_id=str(block)):
            log.warning("block quarantined: %s", "; ".join(reasons))
    for start in range(0, len(items), QUARANTINE_CHUNK):
        chunk = items[start : start + QUARANTINE_CHUNK]
        with c.ledger.transaction(c.job.request_id) as tx:
            tx.run(
                "quarantine",
                job_id=c.job.job_id,
                block_ids=[block for block, _ in chunk],
                reasons=["; ".join(reasons) for _, reasons in chunk],
                error_class=error_class,
            )


def _result(verdict: Verdict) -> GateResult:
    return GateResult(verdict.rows, len(verdict.bad), verdict.message, verdict.docs.key if verdict.docs else None)
