"""Cancels a job: job, blocks and documents in one transaction, so nothing of it is claimed afterwards."""

from __future__ import annotations

from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Job
from tradu.ledger.states import JobState

REASON = "cancelled on request"


def cancel(ledger: Ledger, job: Job) -> int:
    """Cancel what is open of a job; how many blocks that were. What is finished stays.

    A second time cancels what a stage that was still under way has added since. A job that ended otherwise is left
    alone.
    """
    with ledger.transaction(job.request_id) as tx:
        ended = tx.run("end_job", job_id=job.job_id, state=JobState.CANCELED, reason=REASON)
        if not ended and tx.rows("job", Job, job_id=job.job_id)[0].state != JobState.CANCELED:
            return 0
        blocks = tx.run("cancel_blocks", job_id=job.job_id)
        tx.run("cancel_documents", job_id=job.job_id)
        return blocks
