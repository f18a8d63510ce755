"""Rebuilds translated documents: the original bytes, with the spans of text replaced and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from tradu import layout, tables, telemetry
from tradu.assembly.read import TranslatedSegment, segments
from tradu.documents.merge import merge
from tradu.documents.model import DocumentFormat, FormatOptions
from tradu.documents.registry import format_named
from tradu.errors import DataError
from tradu.ledger import objects
from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Document, Job
from tradu.store import Store, buffered

log = logging.getLogger(__name__)
PROVENANCE_ROWS = 5_000
PROVENANCE = pa.schema(
    [
        pa.field("block_id", pa.string()),
        pa.field("block", pa.int32()),
        pa.field("unit", pa.int64()),
        pa.field("model", pa.string()),
        pa.field("tier", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("run", pa.string()),
        pa.field("reason", pa.string()),
    ]
)
"""One row per segment; no model where the source stands, and then the reason."""


@dataclass(slots=True)
class _Count:
    """What the pass over a document's segments saw."""

    segments: int = 0
    translated: int = 0


def assemble(job: Job, options: FormatOptions, ledger: Ledger, store: Store) -> int:
    """Rebuild every document of the job that is not delivered yet, for every language; how many were made.

    They go to a staging place: the gate looks at them before anyone else does. A second time makes the same bytes.
    """
    with ledger.transaction(job.request_id) as tx:
        tx.run("move_documents", job_id=job.job_id, state="ASSEMBLING", from_states=["PARTITIONED", "TRANSLATING"])
        documents = [d for d in tx.rows("documents", Document, job_id=job.job_id) if d.state == "ASSEMBLING"]
    made = 0
    for document in documents:
        for target in job.targets:
            with telemetry.bound(document_id=document.document_id, target=target):
                made += _assemble_one(job, document, target, options, ledger, store)
    return made


def _assemble_one(
    job: Job, document: Document, target: str, options: FormatOptions, ledger: Ledger, store: Store
) -> int:
    document_format, count = format_named(document.format or ""), _Count()
    staging = layout.staging_key(job.job_id, target, document.document_id)
    refused = None
    with (
        store.checked(layout.raw_key(document.document_id), document.document_id) as raw,
        store.writing(staging) as out,
        store.writing(layout.provenance_key(job.job_id, target, document.document_id)) as provenance,
        tables.writer(provenance, PROVENANCE) as writer,
    ):
        stream = _recorded(segments(ledger, store, job.job_id, document.document_id, target), writer, job, count)
        try:
            counts = merge(document_format, raw, unit_texts(stream), cast("BinaryIO", out), options)
        except DataError as error:
            refused, counts = str(error), None
            for _ in stream:  # the provenance and the counts stay complete
                pass
    places = [_places(store, key, document_format, options) for key in (layout.raw_key(document.document_id), staging)]
    lost = places[0] - places[1]
    with ledger.transaction(job.request_id) as tx:
        key = {"job_id": job.job_id, "document_id": document.document_id, "target": target}
        objects.add(tx, job.job_id, out.stored, provenance.stored)
        tx.run(
            "write_output",
            **key,
            size_bytes=out.stored.size_bytes,
            sha256=out.stored.sha256,
            units_in=counts.units if counts else 0,
            units_out=counts.units - lost if counts else 0,
            segments=count.segments,
            translated=count.translated,
            untranslated=count.segments - count.translated,
        )
        if refused:
            tx.run("refuse_output", **key, reason=refused)
    return 1


def _places(store: Store, key: str, document_format: DocumentFormat, options: FormatOptions) -> int:
    with store.reading(key) as stream:
        return document_format.places(buffered(stream), options)


def _recorded(
    stream: Iterator[TranslatedSegment], writer: pq.ParquetWriter, job: Job, count: _Count
) -> Iterator[TranslatedSegment]:
    """Pass segments on, writing down what made each one."""
    rows: list[dict[str, object]] = []
    for segment in stream:
        count.segments += 1
        count.translated += segment.translation is not None
        rows.append(
            {
                "block_id": str(segment.block.block_id),
                "block": segment.block.number,
                "unit": segment.unit,
                "model": segment.model,
                "tier": segment.tier,
                "score": segment.score,
                "run": job.run_id,
                "reason": segment.block.reason if segment.translation is None else None,
            }
        )
        if len(rows) == PROVENANCE_ROWS:
            writer.write_table(pa.Table.from_pylist(rows, schema=PROVENANCE))
            rows.clear()
        yield segment
    writer.write_table(pa.Table.from_pylist(rows, schema=PROVENANCE))


def unit_texts(stream: Iterator[TranslatedSegment]) -> Iterator[tuple[int, str | None]]:
    """(unit number, its new text) for units that have segments; None where nothing in the unit was translated."""
    for unit, group in groupby(stream, key=lambda s: s.unit):
        own = list(group)
        yield unit, "".join(s.text for s in own) if any(s.translation is not None for s in own) else None
