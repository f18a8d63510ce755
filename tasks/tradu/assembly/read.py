"""Reads a translated document's segments back in order: source from the parts, translations from the results."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any
from uuid import UUID

import pyarrow as pa

from tradu import tables
from tradu.documents import codes
from tradu.errors import DamagedError
from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Block, PlacedBlock
from tradu.ledger.states import BlockState
from tradu.store import Store

PAGE_BLOCKS = 2_000


@dataclass(frozen=True, slots=True)
class TranslatedSegment:
    """A segment with what became of it; `translation` is None where the source stays."""

    unit: int
    lead: str
    source: str
    trail: str
    code_offset: int
    block: PlacedBlock
    translation: str | None
    model: str | None
    tier: str | None
    score: float | None

    @property
    def text(self) -> str:
        """The segment as it stands in its unit, with the unit's numbering of codes."""
        kept = self.source if self.translation is None else self.translation
        return f"{self.lead}{codes.shift(kept, self.code_offset)}{self.trail}"


def placed_blocks(ledger: Ledger, job_id: UUID, document_id: str, target: str) -> Iterator[PlacedBlock]:
    """The blocks of a document for one language in order, a page at a time."""
    after = -1
    while True:
        with ledger.transaction() as tx:
            page = tx.rows(
                "blocks_of_document",
                PlacedBlock,
                job_id=job_id,
                document_id=document_id,
                target=target,
                after=after,
                limit=PAGE_BLOCKS,
            )
        yield from page
        if len(page) < PAGE_BLOCKS:
            return
        after = page[-1].number


FINISHED = frozenset({BlockState.COMPLETED})
"""States in which a block's translation is delivered."""
PARTIAL = FINISHED | {BlockState.VALIDATING}
"""What is translated, also where the gate has not judged it yet."""


def segments(
    ledger: Ledger,
    store: Store,
    job_id: UUID,
    document_id: str,
    target: str,
    accepted_states: Collection[str] = FINISHED,
) -> Iterator[TranslatedSegment]:
    """Every segment of a document that wanted a translation, in document order; memory holds one batch."""
    blocks = (b for b in placed_blocks(ledger, job_id, document_id, target) if b.part is not None)
    for (part, group), placed in groupby(blocks, key=lambda b: (b.part, b.row_group)):
        sources = _part(store.uri, part or "", group or 0)[document_id]
        for block in placed:
            accepted = block.state in accepted_states and block.result is not None
            made = _result(store.uri, block.result or "")[document_id][block.number] if accepted else None
            for place, row in enumerate(sources[block.number]):
                result = made[place] if made is not None else {}
                yield TranslatedSegment(
                    row["unit"],
                    row["lead"],
                    row["source"],
                    row["trail"],
                    row["code_offset"],
                    block,
                    result.get("translation"),
                    result.get("model"),
                    result.get("tier"),
                    result.get("score"),
                )


Rows = dict[str, dict[int, list[dict[str, Any]]]]


def _grouped(table: pa.Table) -> Rows:
    grouped: Rows = {}
    for row in table.to_pylist():
        grouped.setdefault(row["document_id"], {}).setdefault(row["block"], []).append(row)
    return grouped


@lru_cache(maxsize=4)
def _part(store_uri: str, key: str, group: int) -> Rows:
    """A row group of source segments; many small documents share one, and the languages of a mixed one
    have their own, so the last ones stay in memory."""
    return _grouped(tables.read_group(Store(store_uri), key, group))


@lru_cache(maxsize=4)
def _result(store_uri: str, key: str) -> Rows:
    columns = ["document_id", "block", "translation", "model", "tier", "score"]
    return _grouped(tables.read(Store(store_uri), key, columns=columns))


@dataclass(frozen=True, slots=True)
class SegmentText:
    """A segment of a block with its last translation, good or not."""

    source: str
    translation: str | None


def texts_of(ledger: Ledger, store: Store, block: Block) -> list[SegmentText]:
    """What stands in a block, and what was last made of it. Nothing where its objects are gone."""
    with ledger.transaction() as tx:
        batches = tx.tuples("place_of_batch", job_id=block.job_id, batch=block.batch)
    try:
        sources = [
            r["source"]
            for part, group in batches
            for r in _part(store.uri, part, group)[block.document_id][block.number]
        ]
        made: list[dict[str, Any]] = []
        if block.result is not None:
            made = _result(store.uri, block.result).get(block.document_id, {}).get(block.number, [])
    except (FileNotFoundError, DamagedError):
        return []
    translations = [row["translation"] for row in made] or [None] * len(sources)
    return [SegmentText(codes.plain(s), t) for s, t in zip(sources, translations, strict=True)]
