"""What a job has in the store, with checksums: the ledger names every object, so a lost or strange one is found."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from tradu.ledger.connection import Ledger, Transaction
from tradu.store import StoredObject

PAGE = 1_000


def add(transaction: Transaction, job_id: UUID, *stored: StoredObject) -> None:
    """Name objects of a job; one that is written again replaces what was known of it."""
    transaction.run_many(
        "add_object",
        [
            {"job_id": job_id, "object_key": o.key, "sha256": o.sha256, "size_bytes": o.size_bytes}
            for o in sorted(stored, key=lambda o: o.key)
        ],
    )


def of_job(ledger: Ledger, job_id: UUID) -> Iterator[StoredObject]:
    """Every object of a job in the order of their keys, a page at a time."""
    after = ""
    while True:
        with ledger.transaction() as tx:
            page = tx.tuples("objects", job_id=job_id, after=after, limit=PAGE)
        yield from (StoredObject(*row) for row in page)
        if len(page) < PAGE:
            return
        after = page[-1][0]
