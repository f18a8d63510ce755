"""What people decide: about a job that a gate has stopped, and about blocks in quarantine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Job
from tradu.ledger.states import Decision

_Run = Callable[..., int]
HIGHER = {"economy": "balanced", "balanced": "premium"}
"""The profile to try next; the highest stays."""


def carry_out(ledger: Ledger, job: Job, decision: Decision, by: str, sent_back: Sequence[UUID]) -> None:
    """Write a decision down, with what follows from it in the ledger; `sent_back` are blocks to translate again."""
    with ledger.transaction(job.request_id) as tx:
        tx.run("decide", job_id=job.job_id, gate=job.stopped_by, decision=decision, by=by)
        tx.run("settle_stop", job_id=job.job_id)
        if sent_back:
            profile = HIGHER.get(job.profile, job.profile)
            reason = f"refused by the gate; {by} wants it again with profile {profile}"
            tx.run("retry_judged", job_id=job.job_id, block_ids=list(sent_back), profile=profile, reason=reason)


def retry(ledger: Ledger, job: Job, block_ids: Sequence[UUID], by: str, profile: str | None) -> int:
    """Give quarantined blocks a new budget, and take the job up again; how many.

    The next run under the job's key works on them.
    """
    with ledger.transaction(job.request_id) as tx:
        moved = [
            b for (b,) in tx.tuples("retry_quarantined", job_id=job.job_id, block_ids=list(block_ids), profile=profile)
        ]
        _settle(tx.run, job, moved, "retry", by)
    return len(moved)


def release(ledger: Ledger, job: Job, block_ids: Sequence[UUID], by: str) -> int:
    """Let quarantined blocks stand as they are, and take the job up again to deliver them; how many."""
    with ledger.transaction(job.request_id) as tx:
        reason = f"released as it is by {by}"
        moved = [
            b for (b,) in tx.tuples("release_quarantined", job_id=job.job_id, block_ids=list(block_ids), reason=reason)
        ]
        _settle(tx.run, job, moved, "release", by)
    return len(moved)


def redo(ledger: Ledger, job: Job, results: Sequence[str], reason: str) -> int:
    """Translate blocks again whose results are lost, and take the job up again; how many."""
    with ledger.transaction(job.request_id) as tx:
        moved = [b for (b,) in tx.tuples("redo_blocks", job_id=job.job_id, results=list(results), reason=reason)]
        tx.run("forget_objects", job_id=job.job_id, object_keys=list(results))
        _reopen(tx.run, job, moved)
    return len(moved)


def _settle(run: _Run, job: Job, moved: Sequence[UUID], decision: str, by: str) -> None:
    run("decide_letters", job_id=job.job_id, block_ids=list(moved), decision=decision, by=by)
    _reopen(run, job, moved)


def _reopen(run: _Run, job: Job, moved: Sequence[UUID]) -> None:
    if moved:
        run("reopen_documents", job_id=job.job_id, block_ids=list(moved))
        run("reopen_job", job_id=job.job_id)
