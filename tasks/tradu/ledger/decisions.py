"""What people decide: about a job that a gate has stopped, and about blocks in quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tradu.errors import RequestError
from tradu.ledger.connection import Ledger, Transaction
from tradu.ledger.jobs import must_be_hot
from tradu.ledger.rows import Job
from tradu.ledger.states import Decision, JobState

HIGHER = {"economy": "balanced", "balanced": "premium"}
"""The profile to try next; the highest stays."""
RELEASED = "released as it is by a person"
"""Reason of such a block, in the history too, which has no names: who it was stands in its dead letter."""


def was_carried_out(ledger: Ledger, job: Job, question: str | None) -> bool:
    """Whether this question was answered already."""
    with ledger.transaction() as tx:
        return question is not None and bool(tx.tuples("answer", job_id=job.job_id, question=question))


def carry_out(
    ledger: Ledger, job: Job, decision: Decision, by: str, sent_back: Sequence[UUID], question: str | None
) -> None:
    """Write a decision down, with what follows from it in the ledger; `sent_back` are blocks to translate again."""
    with ledger.transaction(job.request_id) as tx:
        tx.run("decide", job_id=job.job_id, gate=job.stopped_by, decision=decision, by=by, question=question)
        tx.run("settle_stop", job_id=job.job_id, dropped=decision is Decision.DROP)
        if sent_back:
            profile = HIGHER.get(job.profile, job.profile)
            reason = f"refused by the gate; a person wants it again with profile {profile}"
            tx.run("retry_judged", job_id=job.job_id, block_ids=list(sent_back), profile=profile, reason=reason)


def retry(ledger: Ledger, job: Job, block_ids: Sequence[UUID], by: str, profile: str | None) -> int:
    """Give quarantined blocks a new budget, and take the job up again; how many.

    The next run under the job's key works on them.

    Raises:
        RequestError: the job has not ended, was cancelled, or is archived.
    """
    _must_have_ended(job)
    with ledger.transaction(job.request_id) as tx:
        held = {"job_id": job.job_id, "block_ids": list(block_ids)}
        moved = [b for (b,) in tx.tuples("retry_quarantined", **held, profile=profile)]
        _settle(tx, job, moved, "retry", by)
    return len(moved)


def release(ledger: Ledger, job: Job, block_ids: Sequence[UUID], by: str) -> int:
    """Let quarantined blocks stand as they are, and take the job up again to deliver them; how many.

    Raises:
        RequestError: the job has not ended, was cancelled, or is archived.
    """
    _must_have_ended(job)
    with ledger.transaction(job.request_id) as tx:
        held = {"job_id": job.job_id, "block_ids": list(block_ids)}
        moved = [b for (b,) in tx.tuples("release_quarantined", **held, reason=RELEASED)]
        _settle(tx, job, moved, "release", by)
    return len(moved)


def _must_have_ended(job: Job) -> None:
    must_be_hot(job)
    if job.state not in (JobState.COMPLETED, JobState.PARTIAL, JobState.ERROR):
        raise RequestError(
            f"job {job.job_id} is {job.state}: this can be decided when it has ended, and was not cancelled"
        )


def redo(ledger: Ledger, job: Job, results: Sequence[str], reason: str) -> int:
    """Translate blocks again whose results are lost, and take the job up again; how many.

    Raises:
        RequestError: the job has not ended, was cancelled, or is archived.
    """
    _must_have_ended(job)
    with ledger.transaction(job.request_id) as tx:
        moved = [b for (b,) in tx.tuples("redo_blocks", job_id=job.job_id, results=list(results), reason=reason)]
        tx.run("forget_objects", job_id=job.job_id, object_keys=list(results))
        _reopen(tx, job, moved)
    return len(moved)


def _settle(tx: Transaction, job: Job, moved: Sequence[UUID], decision: str, by: str) -> None:
    tx.run("decide_letters", job_id=job.job_id, block_ids=list(moved), decision=decision, by=by)
    _reopen(tx, job, moved)


def _reopen(tx: Transaction, job: Job, moved: Sequence[UUID]) -> None:
    if moved:
        tx.run("reopen_documents", job_id=job.job_id, block_ids=list(moved))
        tx.run("reopen_job", job_id=job.job_id)
