"""Proves that what a job has agrees with itself: raw bytes, segments, blocks, results, output and manifest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from tradu import layout, tables
from tradu.errors import DamagedError
from tradu.ledger import objects
from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Document, Job, Output
from tradu.ledger.states import BlockState, DocumentState, JobState
from tradu.store import Store, StoredObject

_DELIVERED = (JobState.COMPLETED, JobState.PARTIAL)
_WHOLE = (DocumentState.COMPLETED, DocumentState.PARTIAL)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that does not agree."""

    key: str
    """The object, or the block or document, that it is about."""
    problem: str


@dataclass(slots=True)
class Findings:
    """What was looked at, and what does not agree."""

    objects: int = 0
    blocks: int = 0
    segments: int = 0
    faults: list[Fault] = field(default_factory=list)
    lost_results: list[str] = field(default_factory=list)
    """Results objects that are missing or damaged: their blocks can be translated again."""

    def fault(self, key: str, problem: str) -> None:
        """Note a fault."""
        self.faults.append(Fault(key, problem))


def verify(job: Job, ledger: Ledger, store: Store) -> Findings:
    """Look at every object and block of a job. Holds one object at a time in memory."""
    found = Findings()
    with ledger.transaction() as tx:
        documents = tx.rows("documents", Document, job_id=job.job_id)
        outputs = tx.rows("outputs", Output, job_id=job.job_id)
        results = [result for (result,) in tx.tuples("current_results", job_id=job.job_id)]
    for document in documents:
        if document.size_bytes:
            _check_object(
                found,
                store,
                StoredObject(layout.raw_key(document.document_id), document.document_id, document.size_bytes),
            )
    for stored in objects.of_job(ledger, job.job_id):
        _check_object(found, store, stored)
    for result in results:
        _check_result(found, job.job_id, result, ledger, store)
    _check_counts(found, job, documents, outputs, ledger)
    if job.state in _DELIVERED:
        _check_delivery(found, job, documents, outputs, store)
    return found


def _check_object(found: Findings, store: Store, stored: StoredObject) -> None:
    found.objects += 1
    if problem := store.problem(stored.key, stored.sha256):
        found.fault(stored.key, problem)
        if layout.is_result(stored.key):
            found.lost_results.append(stored.key)


def _check_result(found: Findings, job_id: UUID, result: str, ledger: Ledger, store: Store) -> None:
    """Every block that points at a results object has a row there for each of its segments, and a translation in it."""
    with ledger.transaction() as tx:
        blocks = tx.tuples("blocks_of_result", job_id=job_id, result=result)
        named = tx.tuples("known_objects", job_id=job_id, object_keys=[result])
    if not named:
        found.fault(result, f"{len(blocks)} blocks point at it, and it is not among the job's objects")
    try:
        table = tables.read(store, result, columns=["block_id", "source", "translation"])
    except (FileNotFoundError, DamagedError):
        return  # noted with the objects
    rows = Counter(table.column("block_id").to_pylist())
    empty = {
        block
        for block, source, translation in zip(*(table.column(i).to_pylist() for i in range(3)), strict=True)
        if source.strip() and not translation.strip()
    }
    for block_id, segments, state in blocks:
        found.blocks += 1
        found.segments += segments
        if rows[block_id] != segments:
            found.fault(block_id, f"{rows[block_id]} translations for {segments} segments in {result}")
        elif block_id in empty and state == BlockState.COMPLETED:
            found.fault(block_id, f"is COMPLETED with an empty translation in {result}")


def _check_counts(found: Findings, job: Job, documents: list[Document], outputs: list[Output], ledger: Ledger) -> None:
    """What documents were cut to, what blocks have and what output was made of are the same segments; and what is done
    was made, passed or released.

    Documents are looked at once they are delivered: before that their blocks may be written just now. The rows of an
    output are as they were when it was assembled, since blocks don't change any more then.
    """
    with ledger.transaction() as tx:
        counted = tx.tuples("block_segments", job_id=job.job_id)
        unmade = tx.tuples("unmade_blocks", job_id=job.job_id)
    for (block_id,) in unmade:
        found.fault(block_id, "is COMPLETED without a translation, and nobody has released it")
    cut = {(document_id, target): (every, sent) for document_id, target, every, sent in counted}
    for document in documents:
        for target in job.targets if document.state in _WHOLE else ():
            every, _ = cut.get((document.document_id, target), (0, 0))
            if every != document.segments:
                problem = f"its blocks for {target} have {every} segments, and it was cut to {document.segments}"
                found.fault(document.document_id, problem)
    for output in outputs:
        _, sent = cut.get((output.document_id, output.target), (0, 0))
        if sent != output.segments:
            problem = f"its blocks for {output.target} have {sent} segments to translate, its output {output.segments}"
            found.fault(output.document_id, problem)


def _check_delivery(found: Findings, job: Job, documents: list[Document], outputs: list[Output], store: Store) -> None:
    """Manifest, ledger and delivered files name the same documents with the same checksums."""
    key = layout.manifest_key(job.job_id)
    if any(fault.key == key for fault in found.faults):
        return  # noted with the objects
    try:
        manifest = json.loads(store.get(key))
    except FileNotFoundError:
        found.fault(key, "is missing, and the job was delivered")
        return
    except ValueError:
        found.fault(key, "is no JSON, and the ledger has no checksum of it")
        return
    for problem in _differences(job, documents, outputs, manifest):
        found.fault(key, problem)


def _differences(
    job: Job, documents: list[Document], outputs: list[Output], manifest: dict[str, object]
) -> Iterator[str]:
    if manifest["state"] != job.state:
        yield f"says {manifest['state']}, the ledger {job.state}"
    listed: dict[str, dict[str, object]] = {d["sha256"]: d for d in manifest["documents"]}  # type: ignore[attr-defined]
    for document in documents:
        if document.document_id not in listed:
            yield f"lacks the document {document.paths[0]}"
    made = {(d["sha256"], o["target"]): o["sha256"] for d in listed.values() for o in d["outputs"]}  # type: ignore[attr-defined]
    for output in outputs:
        if output.refused is None and made.get((output.document_id, output.target)) != output.sha256:
            yield f"has another checksum for {output.paths[0]} in {output.target} than the ledger"
