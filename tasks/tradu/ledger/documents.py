"""Ends documents: the history says by which rule, the document's row and its dead letter say in full what was met."""

from __future__ import annotations

from uuid import UUID

from tradu.ledger.connection import Transaction
from tradu.ledger.states import DocumentState


def end(tx: Transaction, job_id: UUID, document_id: str, state: str, reason: str | None, told: str | None) -> bool:
    """Bring a document to its end, where it has not come there yet; one in ERROR leaves a dead letter.

    `reason` goes to the history, which nobody can mend: it holds no text and no names. `told` may: what it is written
    into goes with the document.
    """
    key = {"job_id": job_id, "document_id": document_id}
    if not tx.run("end_document", **key, state=state, reason=reason):
        return False
    if told != reason:
        tx.run("explain_document", **key, reason=told)
    if state == DocumentState.ERROR:
        tx.run("quarantine_document", **key, reason=told)
    return True
