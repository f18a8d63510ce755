"""Which archived jobs somebody means: one, all that have a document, or those of a span of time."""

from __future__ import annotations

import re
from datetime import datetime
from uuid import UUID

from tradu.errors import RequestError
from tradu.ledger.connection import Ledger

_SHA256 = re.compile(r"[0-9a-f]{64}")


def select(
    ledger: Ledger,
    *,
    job_id: UUID | None = None,
    document_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[UUID]:
    """Archived jobs that fit all that is asked, oldest first: `since` and `until` are when they were made.

    Raises:
        RequestError: nothing is asked, no archived job fits, or the document is no SHA-256.
    """
    if job_id is None and document_id is None and since is None and until is None:
        raise RequestError("say which: a job, a document or a span of time")
    if document_id is not None and not _SHA256.fullmatch(document_id):
        raise RequestError(f"document: {document_id!r} is no SHA-256 of a document (64 hexadecimal digits)")
    with ledger.transaction() as tx:
        found = tx.tuples("select_archived", job_id=job_id, document_id=document_id, since=since, until=until)
    if not found:
        raise RequestError("no archived job fits: `tradu archive list` shows them")
    return [job for (job,) in found]
