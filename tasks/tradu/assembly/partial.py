"""What is finished of a job so far, as documents: those that were delivered, and the others as they stand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tradu import layout
from tradu.assembly.assemble import unit_texts
from tradu.assembly.read import FINISHED, PARTIAL, TranslatedSegment, placed_blocks, segments
from tradu.documents.merge import merge
from tradu.documents.registry import format_named
from tradu.errors import DataError, RequestError
from tradu.ledger import jobs
from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Document, Job
from tradu.ledger.states import DocumentState
from tradu.store import Store, whole

REPORT = "untranslated.jsonl"


@dataclass(slots=True)
class Written:
    """A translated document that was written to a folder."""

    file: str
    """Below the folder."""
    document: str
    target: str
    segments: int = 0
    translated: int = 0
    unjudged: int = 0
    """Of these, translated, but the gate has not judged them yet."""
    delivered: bool = False
    """It went out whole: it is a copy of the output."""


def write(
    job: Job, ledger: Ledger, store: Store, folder: Path, *, document_id: str | None, target: str | None, partial: bool
) -> Iterator[Written]:
    """Write the documents of a job to `folder/<language>/<path>`, each appearing whole.

    With `partial` also those that are not delivered yet, where they are cut into blocks: with the translations there
    are, and the source for the rest, which `untranslated.jsonl` names block by block.

    Raises:
        DamagedError: an object is not as it was written.
        StoreError: the store can't be reached.
    """
    with ledger.transaction() as tx:
        documents = tx.rows("documents", Document, job_id=job.job_id)
    folder.mkdir(parents=True, exist_ok=True)
    with whole(folder / REPORT) as report:
        for document in documents:
            if document_id not in (None, document.document_id):
                continue
            if document.state == DocumentState.CANCELED and not document.segments:  # another one may have its path
                continue
            for language in job.targets if target is None else [target]:
                written = _delivered(job, document, language, store, folder)
                if not written and partial and document.segments:
                    written = [_as_it_stands(job, document, language, ledger, store, folder, report)]
                yield from written


def _delivered(job: Job, document: Document, target: str, store: Store, folder: Path) -> list[Written]:
    found = []
    for path in document.paths:
        key = layout.output_key(job.job_id, target, path)
        if store.exists(key):
            store.copy_out(key, _inside(folder, target, path))
            found.append(Written(f"{target}/{path}", path, target, delivered=True))
    return found


def _as_it_stands(
    job: Job, document: Document, target: str, ledger: Ledger, store: Store, folder: Path, report: BinaryIO
) -> Written:
    path = document.paths[0]
    written = Written(f"{target}/{path}", path, target)
    stream = _counted(segments(ledger, store, job.job_id, document.document_id, target, PARTIAL), written)
    document_format, options = format_named(document.format or ""), jobs.format_options(job)
    try:
        with (
            store.checked(layout.raw_key(document.document_id), document.document_id) as raw,
            whole(_inside(folder, target, path)) as out,
        ):
            merge(document_format, raw, unit_texts(stream), out, options)
    except DataError as error:
        raise DataError(f"{path} can't be put together for {target}: {error}") from error
    for block in placed_blocks(ledger, job.job_id, document.document_id, target):
        if block.part is not None and not (block.state in PARTIAL and block.result):
            line = {"document": path, "target": target, "block": block.number, "state": block.state}
            report.write(json.dumps({**line, "reason": block.reason}, ensure_ascii=False).encode() + b"\n")
    return written


def _inside(folder: Path, target: str, path: str) -> Path:
    """Where a document goes. Names come from strangers.

    Raises:
        RequestError: it would lie outside of the folder.
    """
    place = folder / target / path
    if not place.resolve().is_relative_to(folder.resolve()):
        raise RequestError(f"{path!r} would be written outside of {folder}")
    return place


def _counted(stream: Iterator[TranslatedSegment], written: Written) -> Iterator[TranslatedSegment]:
    for segment in stream:
        written.segments += 1
        written.translated += segment.translation is not None
        written.unjudged += segment.translation is not None and segment.block.state not in FINISHED
        yield segment
