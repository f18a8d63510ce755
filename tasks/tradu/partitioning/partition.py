"""Partitions the documents of a job: streams each one into row groups of segments, and their blocks into the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg.types.json import Jsonb

from tradu import layout, tables, telemetry
from tradu.documents import codes
from tradu.documents.language import base, other_than
from tradu.documents.model import FormatOptions
from tradu.documents.registry import format_named
from tradu.errors import DataError, RequestError
from tradu.ledger import blocks as ledger_blocks
from tradu.ledger import documents as ledger_documents
from tradu.ledger import ids, objects, pools
from tradu.ledger.blocks import NewBatch, NewBlock
from tradu.ledger.connection import Ledger, Transaction
from tradu.ledger.rows import BatchSize, Document, Job
from tradu.ledger.states import DocumentState
from tradu.partitioning import plan
from tradu.partitioning.segments import Segment, cut
from tradu.settings import Settings
from tradu.store import Store, Writing

log = logging.getLogger(__name__)
GROUPS_PER_PART = 64
MALFORMED = "the document is malformed"
Check = Callable[[str], Any]
"""Looks at a block's source text; a dataclass of columns for the blocks gate."""
Leads = Callable[[str, str], bool]
"""Whether there is a way from one language to another."""
LanguageOf = Callable[[str], str]
"""The language of a part of a document."""


@dataclass(frozen=True, slots=True)
class Partitioned:
    """What partition made of a job."""

    documents: int
    blocks: int
    characters: int
    shards: int


@dataclass(slots=True)
class _Group:
    """Blocks of one source language that will be one row group."""

    source: str
    rows: list[tuple[str, int, Segment]] = field(default_factory=list)
    blocks: list[tuple[str, int, int, int]] = field(default_factory=list)  # document, number, segments, characters
    characters: int = 0

    def add(self, document_id: str, number: int, segments: Sequence[Segment]) -> None:
        size = sum(len(s.source) for s in segments)
        self.rows.extend((document_id, number, s) for s in segments)
        self.blocks.append((document_id, number, len(segments), size))
        self.characters += size

    def drop(self, document_id: str) -> None:
        self.rows = [r for r in self.rows if r[0] != document_id]
        self.blocks = [b for b in self.blocks if b[0] != document_id]
        self.characters = sum(b[3] for b in self.blocks)


class _Writer:
    """Writes groups as row groups of parts, and their batches and blocks to the ledger, part by part."""

    def __init__(self, job: Job, ledger: Ledger, store: Store, check: Check) -> None:
        self.job, self.ledger, self.store, self.check = job, ledger, store, check
        self.part = self.group = self.total_blocks = self.characters = 0
        self._stack = ExitStack()
        self._stream: Writing | None = None
        self._parquet: pq.ParquetWriter | None = None
        self._batches: list[NewBatch] = []
        self._blocks: list[NewBlock] = []
        self._index: list[dict[str, Any]] = []

    def write(self, group: _Group) -> None:
        """One row group, with a batch for each language it is to be translated into."""
        if not group.rows:
            return
        if self._parquet is None:
            self._stream = self._stack.enter_context(self.store.writing(layout.part_key(self.job.job_id, self.part)))
            self._stack.callback(self._must_be_as_before, self._stream)  # when all is written, before it is there
            self._parquet = self._stack.enter_context(tables.writer(self._stream, layout.SEGMENTS))
        self._parquet.write_table(_table(group.rows))
        for place, target in enumerate(self.job.targets):
            batch = None
            if base(group.source) != base(target):
                batch = (self.part * GROUPS_PER_PART + self.group) * len(self.job.targets) + place
                key = layout.part_key(self.job.job_id, self.part)
                self._batches.append(NewBatch(batch, group.source, target, key, self.group, group.characters))
            self._blocks.extend(NewBlock(d, target, n, batch, s, c) for d, n, s, c in group.blocks)
        self._index.extend(self._checked(group))
        self.total_blocks += len(group.blocks) * len(self.job.targets)
        self.characters += group.characters
        self.group += 1
        if self.group == GROUPS_PER_PART:
            self.close_part()

    def _checked(self, group: _Group) -> Iterator[dict[str, Any]]:
        texts: dict[tuple[str, int], list[str]] = {}
        for document_id, number, segment in group.rows:
            texts.setdefault((document_id, number), []).append(codes.plain(segment.source))
        for document_id, number, segments, characters in group.blocks:
            text = "\n".join(texts[document_id, number])
            yield {
                "block_id": str(ids.block_id(self.job.job_id, document_id, self.job.targets[0], number)),
                "document_id": document_id,
                "number": number,
                "source": group.source,
                "segments": segments,
                "characters": characters,
                **asdict(self.check(text)),
            }

    def close_part(self) -> None:
        """End the open part: its objects appear in the store, then its rows in the ledger."""
        if self._parquet is None or self._stream is None:
            return
        self._stack.close()
        index = tables.write(
            self.store, layout.index_key(self.job.job_id, self.part), pa.Table.from_pylist(self._index)
        )
        with self.ledger.transaction(self.job.request_id) as tx:
            objects.add(tx, self.job.job_id, self._stream.stored, index)
            ledger_blocks.add(tx, self.job.job_id, self._batches, self._blocks)
        log.info("partitioned %d blocks, %d characters", self.total_blocks, self.characters)
        self._stream, self._parquet, self.group, self.part = None, None, 0, self.part + 1
        self._batches, self._blocks, self._index = [], [], []

    def _must_be_as_before(self, written: Writing) -> None:
        """Blocks that the ledger has of a part that was cut before point into it: it may only be written as it was."""
        with self.ledger.transaction() as tx:
            known = tx.tuples("object_sha256", job_id=self.job.job_id, object_key=written.stored.key)
        if known and known[0][0] != written.stored.sha256:
            raise _OtherPartError


class _OtherPartError(Exception):
    """A part comes out another one than it was: cut with other settings, models or another version of Tradu."""


def _forget_cut(job: Job, ledger: Ledger) -> None:
    """Make the job one that was never cut, where nothing has been done with its blocks.

    Its parts stay in the store until they are written anew; one that is not is an orphan, which the sweep tells of. Who
    has lost its lease can so remove none that others work with.

    Raises:
        RequestError: its blocks have been worked on.
    """
    with ledger.transaction(job.request_id) as tx:
        ((untouched,),) = tx.tuples("is_untouched", job_id=job.job_id)
        if not untouched:
            raise RequestError(
                f"a part of job {job.job_id} is there, cut with other settings, models or another version of Tradu: "
                f"set them as they were, or cancel it (tradu cancel {job.job_id}) and have its documents translated "
                "under another key (tradu translate --key); no nightly run does them again"
            )
        tx.run("forget_cut_blocks", job_id=job.job_id)
        tx.run("forget_cut_batches", job_id=job.job_id)
        tx.run("forget_cut_parts", job_id=job.job_id, prefix=f"{layout.parts_prefix(job.job_id)}/")
    log.warning("the job was cut with other settings, models or another version of Tradu: it is cut anew")


def _table(rows: Sequence[tuple[str, int, Segment]]) -> pa.Table:
    return pa.table(
        {
            "document_id": [r[0] for r in rows],
            "block": [r[1] for r in rows],
            "unit": [r[2].unit for r in rows],
            "lead": [r[2].lead for r in rows],
            "source": [r[2].source for r in rows],
            "trail": [r[2].trail for r in rows],
            "code_offset": [r[2].code_offset for r in rows],
        },
        schema=layout.SEGMENTS,
    )


def language_of(job: Job, document: Document, leads: Leads) -> LanguageOf:
    """How the languages of a document's parts are found: that of the document, unless nobody has named it and a part
    surely is in another one, which is a target language or leads to all of them."""
    usual = document.source or "und"
    if job.source != "auto" or document.source is None:
        return lambda _: usual

    @lru_cache(maxsize=64)
    def usable(language: str) -> bool:
        return all(base(language) == base(target) or leads(language, target) for target in job.targets)

    def found(text: str) -> str:
        other = other_than(codes.plain(text), usual)
        return other.language if other is not None and usable(other.language) else usual

    return found


def document_blocks(
    document: Document, store: Store, options: FormatOptions, max_block_chars: int, language: LanguageOf
) -> Iterator[tuple[str, list[Segment]]]:
    """The blocks of a document, each with its language, streamed from the document's raw bytes.

    Raises:
        DataError: the document turns out to be malformed.
    """
    document_format = format_named(document.format or "")
    with store.checked(layout.raw_key(document.document_id), document.document_id) as stream:
        yield from cut(document_format.units(stream, options), language, max_block_chars)


def partition(
    job: Job,
    options: FormatOptions,
    ledger: Ledger,
    store: Store,
    settings: Settings,
    *,
    check: Check,
    cost: plan.Cost,
    pace: plan.Pace,
    shard_seconds: float,
    leads: Leads,
) -> Partitioned:
    """Partition every REGISTERED document and plan the shards.

    Everything it writes is a function of the documents, so that a run that was killed is run again from the start and
    finds its own rows. A document that proves malformed on the way is quarantined; the rest go on. It is quarantined
    when all are cut: one that a second run did not meet any more would shift what follows to other parts. Where a
    second run would cut otherwise (other settings, models or version), the job is cut anew from the start. Shards are
    planned once, in the transaction that gives batches their places in them.

    Raises:
        RequestError: it would be cut otherwise, and its blocks have been worked on.
    """
    malformed: list[tuple[Document, str]] = []
    with ledger.transaction(job.request_id) as tx:
        documents = [d for d in tx.rows("documents", Document, job_id=job.job_id) if d.state == "REGISTERED"]
    if documents:
        cut_all = partial(_partition_documents, documents, options=options, settings=settings, leads=leads)
        try:
            malformed = cut_all(_Writer(job, ledger, store, check))
        except _OtherPartError:
            _forget_cut(job, ledger)
            malformed = cut_all(_Writer(job, ledger, store, check))
    with ledger.transaction(job.request_id) as tx:
        batches = tx.rows("batches", BatchSize, job_id=job.job_id)
        placed = [b.shard for b in batches if b.shard is not None]
        if len(placed) < len(batches):
            load = _load(batches, pace, shard_seconds, tx, settings)
            placed = _place(tx, job, batches, load, cost)
        count = max(placed, default=-1) + 1
        for document, reason in malformed:
            _quarantine(tx, job, document, reason)
        tx.run("move_documents", job_id=job.job_id, state="PARTITIONED", from_states=["REGISTERED"])
        expected = sum(b.characters * cost(b.source, b.target) for b in batches) / 1e6
        tx.run("set_estimate", job_id=job.job_id, cost=expected * settings.cpu_price_per_hour / 3600)
        total = sum(p[1] for p in tx.tuples("progress", job_id=job.job_id))
    return Partitioned(len(documents), int(total), sum(b.characters for b in batches), count)


def _load(
    batches: Sequence[BatchSize], pace: plan.Pace, seconds: float, tx: Transaction, settings: Settings
) -> plan.Load:
    return plan.Load(
        characters=sum(b.characters for b in batches),
        batches=len(batches),
        characters_per_second=plan.characters_per_second(batches, pace),
        workers=sum(agent.capacity for agent in pools.agents(tx)),
        seconds=seconds,
        batch_characters=settings.batch_chars,
        unmeasured_characters=settings.min_shard_chars,
        most=settings.max_shards,
    )


def _place(tx: Transaction, job: Job, batches: Sequence[BatchSize], load: plan.Load, cost: plan.Cost) -> list[int]:
    """Give each batch its shard, and keep with the job how many there are and why."""
    chosen = plan.sharding(load)
    placed = plan.shards(batches, cost, chosen.shards)
    tx.run("place_batches", job_id=job.job_id, batches=[b.batch for b in batches], shards=placed)
    count = max(placed) + 1  # fewer than chosen, where there are batches larger than a shard
    tx.run("add_shards", job_id=job.job_id, count=count)
    kept = asdict(chosen) | {"shards": count, "inputs": asdict(load)}
    tx.run("set_sharding", job_id=job.job_id, sharding=Jsonb(kept))
    log.info("%d shards (%s): %s", count, chosen.rule, chosen.reason)
    return placed


def _partition_documents(
    documents: Sequence[Document], writer: _Writer, options: FormatOptions, settings: Settings, leads: Leads
) -> list[tuple[Document, str]]:
    """Write the parts; the documents that are malformed, and why."""
    malformed = []
    groups: dict[str, _Group] = {}  # an open one for each language
    for document in documents:
        segments = characters = 0
        language = language_of(writer.job, document, leads)
        try:
            cut_blocks = document_blocks(document, writer.store, options, settings.max_block_chars, language)
            for number, (source, block) in enumerate(cut_blocks):
                size = sum(len(s.source) for s in block)
                group = groups.setdefault(source, _Group(source))
                if group.characters + size > settings.batch_chars:
                    writer.write(group)
                    group = groups[source] = _Group(source)
                group.add(document.document_id, number, block)
                segments, characters = segments + len(block), characters + size
        except DataError as error:
            for group in groups.values():
                group.drop(document.document_id)
            _close(writer, groups)
            malformed.append((document, str(error)))
            with telemetry.bound(document_id=document.document_id):
                log.warning("document quarantined: %s", error)
            continue
        with writer.ledger.transaction(writer.job.request_id) as tx:
            tx.run(
                "measure_document",
                job_id=writer.job.job_id,
                document_id=document.document_id,
                segments=segments,
                characters=characters,
            )
    _close(writer, groups)
    return malformed


def _close(writer: _Writer, groups: dict[str, _Group]) -> None:
    """Write what is open, and end the part."""
    while groups:
        writer.write(groups.pop(next(iter(groups))))
    writer.close_part()


def _quarantine(tx: Transaction, job: Job, document: Document, told: str) -> None:
    """End a document in ERROR, with its blocks, and leave a dead letter."""
    tx.run("quarantine_blocks_of", job_id=job.job_id, document_id=document.document_id, reason=MALFORMED)
    ledger_documents.end(tx, job.job_id, document.document_id, DocumentState.ERROR, MALFORMED, told)
