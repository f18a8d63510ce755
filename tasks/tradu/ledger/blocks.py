"""Blocks and batches in bulk: COPY into a temporary table, then one statement, so that a second time adds nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from tradu.ledger import ids
from tradu.ledger.connection import Transaction

_NEW_BLOCKS = """
CREATE TEMPORARY TABLE new_blocks (job_id uuid, block_id uuid, document_id text, target text, number int, batch int,
                                   segments int, characters int) ON COMMIT DROP
"""
_COPY = "COPY new_blocks FROM STDIN"


@dataclass(frozen=True, slots=True)
class NewBlock:
    """A block as partition makes it. Without a batch it needs no translation (it is in the target language)."""

    document_id: str
    target: str
    number: int
    batch: int | None
    segments: int
    characters: int


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch as partition makes it: a row group of a part, for one target language."""

    batch: int
    source: str
    target: str
    part: str
    row_group: int
    characters: int


def add(transaction: Transaction, job_id: UUID, batches: Sequence[NewBatch], blocks: Sequence[NewBlock]) -> None:
    """Write batches and their blocks; those that exist stay as they are."""
    transaction.run_many(
        "add_batch",
        [
            {
                "job_id": job_id,
                "batch": b.batch,
                "source": b.source,
                "target": b.target,
                "part": b.part,
                "row_group": b.row_group,
                "characters": b.characters,
            }
            for b in batches
        ],
    )
    transaction.connection.execute(_NEW_BLOCKS)
    with transaction.connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for b in blocks:
            identifier = ids.block_id(job_id, b.document_id, b.target, b.number)
            copy.write_row((job_id, identifier, b.document_id, b.target, b.number, b.batch, b.segments, b.characters))
    transaction.run("add_blocks")
    transaction.run("pass_blocks")
    transaction.connection.execute("DROP TABLE new_blocks")
