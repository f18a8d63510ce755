"""Blocks of a job with their text, a page or one at a time, wherever the job stands: each read along an index.

The ledger says where a block lies (the row group of its source, the object of its current translation), so nothing is
searched for in the store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from tradu import tables
from tradu.assembly.read import SegmentText
from tradu.documents import codes
from tradu.errors import RequestError
from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Document, Job, PageBlock
from tradu.ledger.states import DocumentState
from tradu.store import Store


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in the order of a job's blocks: a page begins after one."""

    document_id: str = ""
    target: str = ""
    number: int = -1

    def __str__(self) -> str:
        return f"{self.document_id}:{self.target}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """The place that a text names.

        Raises:
            RequestError: it is none.
        """
        parts = text.split(":")
        if len(parts) != 3 or not parts[2].lstrip("-").isdecimal() or len(parts[2]) > 10:
            raise RequestError(f"{text!r} is no place in a job: take it from the end of the page before")
        return cls(parts[0], parts[1], int(parts[2]))


@dataclass(frozen=True, slots=True)
class BlockText:
    """A block with its segments; a translation is None where the source stands."""

    block: PageBlock
    segments: Sequence[SegmentText]

    @property
    def place(self) -> Place:
        """Where a page after this block begins."""
        return Place(self.block.document_id, self.block.target, self.block.number)


def find_document(ledger: Ledger, job: Job, name: str) -> Document:
    """The document of a job that a path, or the beginning of a SHA-256, names.

    Raises:
        RequestError: none or several do.
    """
    with ledger.transaction() as tx:
        documents = tx.rows("documents", Document, job_id=job.job_id)
    found = [d for d in documents if name in d.paths] or [d for d in documents if d.document_id.startswith(name)]
    found = [d for d in found if d.state != DocumentState.CANCELED] or found  # what was replaced has the same path
    if len(found) != 1:
        raise RequestError(f"{len(found)} documents of job {job.job_id} are called {name}")
    return found[0]


def page(
    ledger: Ledger, job: Job, after: Place, limit: int, *, document_id: str | None = None, target: str | None = None
) -> list[PageBlock]:
    """The next blocks of a job, or of one document of it, in the order of documents, languages and numbers."""
    asked = {"job_id": job.job_id, "target": target, "limit": limit, "after_number": after.number}
    with ledger.transaction() as tx:
        if document_id is None:
            asked |= {"after_document": after.document_id, "after_target": after.target}
            return tx.rows("page_of_job", PageBlock, **asked)
        if after.document_id != document_id:
            asked["after_number"], after = -1, Place()
        return tx.rows("page_of_document", PageBlock, **asked, document_id=document_id, after_target=after.target)


def one(ledger: Ledger, job: Job, document_id: str, target: str, number: int) -> PageBlock:
    """One block.

    Raises:
        RequestError: there is none of this number.
    """
    asked = {"document_id": document_id, "target": target, "number": number}
    with ledger.transaction() as tx:
        found = tx.rows("placed_block", PageBlock, job_id=job.job_id, **asked)
    if not found:
        raise RequestError(f"there is no block {number} of document {document_id[:12]} for {target}")
    return found[0]


def texts(store: Store, blocks: Sequence[PageBlock], states: Collection[str]) -> Iterator[BlockText]:
    """Blocks with their text; translations of blocks in these states alone. Memory holds one batch.

    Raises:
        DamagedError: an object is not as it was written.
        FileNotFoundError: an object is missing.
        StoreError: the store can't be reached.
    """
    if len(blocks) == 1:
        yield _read_one(store, blocks[0], states)
        return
    for (part, group), placed in groupby(blocks, key=lambda b: (b.part, b.row_group)):
        own = list(placed)
        if part is None or group is None:  # in the target language already
            yield from (BlockText(block, ()) for block in own)
            continue
        sources = _by_block(
            tables.read_group(store, part, group, columns=["document_id", "block", "source"]).to_pylist()
        )
        for result, together in groupby(own, key=lambda b: b.result if b.state in states else None):
            columns = ["document_id", "block", "translation"]
            made = {} if result is None else _by_block(tables.read(store, result, columns=columns).to_pylist())
            for block in together:
                key = block.document_id, block.number
                yield _joined(block, sources[key], made.get(key, ()))


def _read_one(store: Store, block: PageBlock, states: Collection[str]) -> BlockText:
    """A block by itself: one row group of its part, and of its result those that may have it."""
    if block.part is None or block.row_group is None:
        return BlockText(block, ())
    columns = ["document_id", "block", "source"]
    rows = _by_block(tables.read_group(store, block.part, block.row_group, columns=columns).to_pylist())
    made: Sequence[dict[str, Any]] = ()
    if block.result is not None and block.state in states:
        equal: dict[str, str | int] = {"document_id": block.document_id, "block": block.number}
        made = tables.read_rows(store, block.result, equal, columns=["translation"]).to_pylist()
    return _joined(block, rows[block.document_id, block.number], made)


def _by_block(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], list[dict[str, Any]]]:
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["document_id"], row["block"]), []).append(row)
    return found


def _joined(block: PageBlock, sources: Sequence[dict[str, Any]], made: Sequence[dict[str, Any]]) -> BlockText:
    translations = [row["translation"] for row in made] or [None] * len(sources)
    pairs = zip(sources, translations, strict=True)
    return BlockText(block, [SegmentText(codes.plain(row["source"]), translation) for row, translation in pairs])
