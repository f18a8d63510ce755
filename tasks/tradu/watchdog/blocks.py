"""The watchdog of blocks: leases that ran out long ago go back, and blocks whose budget is spent are closed."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from tradu.ledger.connection import Ledger
from tradu.ledger.incidents import IncidentKind, report
from tradu.settings import Settings

LEASES_OF_GRACE = 1


def look(ledger: Ledger, settings: Settings) -> dict[str, int]:
    """Free and close what is due; counts. Age alone ends nothing: a block whose lease lives is left alone."""
    with ledger.transaction() as tx:
        freed = tx.tuples("expire_blocks", grace_seconds=LEASES_OF_GRACE * settings.lease_seconds)
        by_job: Counter[UUID] = Counter(job_id for (job_id,) in freed)
        for job_id, count in sorted(by_job.items()):
            report(tx, IncidentKind.BLOCKS_FREED, f"{count} blocks of lost workers went back", job_id=job_id)
        closed = tx.tuples("close_spent", max_attempts=settings.max_attempts)
    return {"blocks_freed": len(freed), "blocks_closed": len(closed)}
