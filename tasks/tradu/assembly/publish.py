"""Lets the output of a job out: documents first, the manifest last; then counts what is done."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from tradu import __version__, layout
from tradu.assembly.read import placed_blocks
from tradu.errors import DamagedError, SystemicError
from tradu.ledger import documents as ledger_documents
from tradu.ledger import objects, snapshot
from tradu.ledger.connection import Ledger, Transaction
from tradu.ledger.incidents import IncidentKind, report
from tradu.ledger.rows import BlockCount, Document, ErrorCount, Job, Output, Spending, Total
from tradu.ledger.states import BLOCK_WAITING, BlockState, DocumentState, JobState
from tradu.store import Store, StoredObject

log = logging.getLogger(__name__)
_OPEN = (*BLOCK_WAITING, BlockState.VALIDATING)
OfDocument = TypeVar("OfDocument", Output, BlockCount)
_NOTHING = "nothing to translate: copied unchanged"


@dataclass(frozen=True, slots=True)
class Published:
    """How a job ended."""

    state: str
    reason: str | None
    documents: dict[str, int]
    """Number of documents by end state."""
    tiers: dict[str, dict[str, float]]
    """What each tier took: texts tried, segments that climbed to it or stayed below for want of budget, cost."""


def publish(job: Job, ledger: Ledger, store: Store) -> Published:
    """Move accepted outputs to their place, write report and manifest, and end documents and job.

    Done means counted: a document is COMPLETED only when every block of every language is, and its output went out.

    Raises:
        SystemicError: blocks are open: the job can't end yet.
    """
    with ledger.transaction(job.request_id) as tx:
        outputs = tx.rows("outputs", Output, job_id=job.job_id)
        documents = tx.rows("documents", Document, job_id=job.job_id)
        counts = tx.rows("block_counts", BlockCount, job_id=job.job_id)
    if waiting := sum(c.blocks for c in counts if c.state in _OPEN):
        raise SystemicError(f"{waiting} blocks of job {job.job_id} are not done: `tradu resume {job.job_id}` goes on")
    own, counted = _by_document(outputs), _by_document(counts)
    ends = {d.document_id: _end_of(d, job, own[d.document_id], counted[d.document_id]) for d in documents}
    there = delivered(store, job)
    files = _files_of(there)
    for output in outputs:
        if output.refused is None:
            _deliver(job, output, store, files, ledger)
    written = _write_report(job, documents, ends, outputs, ledger, store)
    job_state, job_reason = _job_end([state for state, _ in ends.values()])
    with ledger.transaction(job.request_id) as tx:
        for document in documents:
            if document.state == DocumentState.ASSEMBLING:
                state, told = ends[document.document_id]
                reason = _without_text(told, own[document.document_id])
                ledger_documents.end(tx, job.job_id, document.document_id, state, reason, told)
        objects.add(tx, job.job_id, written)
        tx.run("end_job", job_id=job.job_id, state=job_state, reason=job_reason)
        objects.add(tx, job.job_id, *_write_manifest(tx, job, store, job_state, job_reason, there))
        tiers = _tiers(tx, job)
    return Published(job_state, job_reason, dict(Counter(end for end, _ in ends.values())), tiers)


def _tiers(tx: Transaction, job: Job) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in tx.rows("spending", Spending, job_id=job.job_id):
        own = found.setdefault(row.tier, {"texts": 0, "climbed": 0, "stayed": 0, "cost": 0.0})
        for name in own:
            own[name] += getattr(row, name)
    return found


def published(job: Job, ledger: Ledger, store: Store) -> Published | None:
    """How a job has ended that was published already; None where it was not."""
    if job.state not in (JobState.COMPLETED, JobState.PARTIAL, JobState.ERROR):
        return None
    there = delivered(store, job)
    if there is None or there["state"] != job.state:
        return None
    with ledger.transaction() as tx:
        ends = Counter(d.state for d in tx.rows("documents", Document, job_id=job.job_id))
        tiers = _tiers(tx, job)
    return Published(job.state, job.reason, dict(ends), tiers)


def _by_document(rows: Iterable[OfDocument]) -> defaultdict[str, list[OfDocument]]:
    found = defaultdict[str, list[OfDocument]](list)
    for row in rows:
        found[row.document_id].append(row)
    return found


def _end_of(document: Document, job: Job, own: list[Output], blocks: list[BlockCount]) -> tuple[str, str | None]:
    """End state and reason of a document, by its outputs and blocks: ended ones stay as they are."""
    if document.state != DocumentState.ASSEMBLING:
        return document.state, document.reason or document.error
    if document.segments and (lost := sorted(set(job.targets) - {c.target for c in blocks})):
        return DocumentState.ERROR, f"the ledger has lost its blocks for {', '.join(lost)}: send it under another key"
    bad = sum(c.blocks for c in blocks if c.state != BlockState.COMPLETED)
    good = sum(c.blocks for c in blocks if c.state == BlockState.COMPLETED)
    refused = [_refused(o) for o in own if o.refused is not None]
    if len(refused) == len(job.targets):
        return DocumentState.ERROR, "; ".join(refused)
    if bad and not good:
        return DocumentState.ERROR, f"none of its {bad} blocks could be translated"
    if bad or refused or len(own) < len(job.targets):
        reasons = [f"{bad} of {bad + good} blocks stay in the source language"] if bad else []
        return DocumentState.PARTIAL, "; ".join(reasons + refused)
    return DocumentState.COMPLETED, None if blocks else _NOTHING


def _refused(output: Output) -> str:
    return f"{output.target}: {output.refused}"


def _without_text(told: str | None, outputs: list[Output]) -> str | None:
    """The same without why outputs were refused: that may quote a document."""
    for output in outputs:
        if told is not None and output.refused is not None:
            told = told.replace(_refused(output), f"{output.target}: refused")
    return told


def _job_end(ends: list[str]) -> tuple[str, str | None]:
    """A job is as good as its documents, those apart whose files were replaced before it was cut."""
    ends = [e for e in ends if e != DocumentState.CANCELED]
    bad = [e for e in ends if e != DocumentState.COMPLETED]
    if not bad:
        return JobState.COMPLETED, None
    if all(e == DocumentState.ERROR for e in ends):
        return JobState.ERROR, f"none of {len(ends)} documents could be translated"
    return JobState.PARTIAL, f"{len(bad)} of {len(ends)} documents are not complete"


def delivered(store: Store, job: Job) -> dict[str, Any] | None:
    """The manifest of an earlier delivery of this job; None: there was none.

    Raises:
        DamagedError: it can't be read.
    """
    key = layout.manifest_key(job.job_id)
    try:
        manifest: dict[str, Any] = json.loads(store.get(key))
        _files_of(manifest), manifest["state"]
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        raise DamagedError(
            f"{key} is damaged: it is no manifest ({type(error).__name__}). Remove it, and "
            f"`tradu resume {job.job_id}`: it is written anew"
        ) from error
    return manifest


def _deliver(job: Job, output: Output, store: Store, delivered_before: Mapping[str, str], ledger: Ledger) -> None:
    """Copy a staged document to each of its paths; one that was delivered by an earlier run stays.

    Raises:
        DamagedError: the staged document is not the one that the gate has let out.
        SystemicError: it is neither staged nor delivered: the store is away, or has lost it.
    """
    staging = layout.staging_key(job.job_id, output.target, output.document_id)
    targets = [layout.output_key(job.job_id, output.target, path) for path in output.paths]
    if not store.exists(staging):
        missing = [key for key in targets if not store.exists(key)]
        if missing:
            raise SystemicError(f"the store at {store.uri} has neither {staging} nor {missing[0]}")
        return
    stored = []
    for key in targets:
        if delivered_before.get(key) != output.sha256 or not store.exists(key):
            with store.checked(staging, output.sha256) as source:
                store.copy_in(source, key)
        stored.append(StoredObject(key, output.sha256, output.size_bytes))
    with ledger.transaction(job.request_id) as tx:
        objects.add(tx, job.job_id, *stored)
        tx.run("forget_objects", job_id=job.job_id, object_keys=[staging])
    store.remove(staging)


def _files_of(manifest: dict[str, Any] | None) -> dict[str, str]:
    """The delivered files of a manifest with their checksums."""
    outputs = [o for document in (manifest or {}).get("documents", ()) for o in document["outputs"]]
    return {file: output["sha256"] for output in outputs for file in output["files"]}


def _write_report(
    job: Job,
    documents: list[Document],
    ends: dict[str, tuple[str, str | None]],
    outputs: list[Output],
    ledger: Ledger,
    store: Store,
) -> StoredObject:
    """One JSON line for each document and block that was not translated."""
    with store.writing(layout.report_key(job.job_id)) as stream:
        for line in _report_lines(job, documents, ends, outputs, ledger):
            stream.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    return stream.stored


def _report_lines(
    job: Job,
    documents: list[Document],
    ends: dict[str, tuple[str, str | None]],
    outputs: list[Output],
    ledger: Ledger,
) -> Iterator[dict[str, Any]]:
    for document in documents:
        state, reason = ends[document.document_id]
        if state != DocumentState.COMPLETED or reason:
            yield {"document": document.paths, "document_id": document.document_id, "state": state, "reason": reason}
    for output in outputs:
        if output.untranslated:
            for block in placed_blocks(ledger, job.job_id, output.document_id, output.target):
                if block.state != BlockState.COMPLETED:
                    yield {
                        "document": output.paths,
                        "target": output.target,
                        "block": block.number,
                        "block_id": str(block.block_id),
                        "state": block.state,
                        "reason": block.reason,
                    }


def _write_manifest(
    tx: Transaction, job: Job, store: Store, state: str, reason: str | None, there: dict[str, Any] | None
) -> list[StoredObject]:
    """Write the job's rows, from which a lost ledger is rebuilt, and last the manifest, which says that all is there.

    A manifest that the ledger does not know, and that says the same, is left as it is: a ledger that was restored to an
    older state does the job again, and whoever waits for manifests must not see a second delivery.
    """
    documents = tx.rows("documents", Document, job_id=job.job_id)
    outputs = _by_document(o for o in tx.rows("outputs", Output, job_id=job.job_id) if o.refused is None)
    totals = tx.rows("totals", Total, job_id=job.job_id)
    manifest: dict[str, Any] = {
        "tradu": __version__,
        "job_id": str(job.job_id),
        "run": job.run_id,
        "request_id": job.request_id,
        "tenant": job.tenant,
        "region": job.region,
        "state": state,
        "reason": reason,
        "source": job.source,
        "targets": job.targets,
        "profile": job.profile,
        "cost_estimate": job.cost_estimate,
        "cost": sum(t.cost or 0 for t in totals),
        "work": [_work(t) for t in totals],
        "errors": [
            {"class": e.error_class, "reason": e.reason, "blocks": e.blocks}
            for e in tx.rows("errors", ErrorCount, job_id=job.job_id)
        ],
        "documents": [_document(d, outputs[d.document_id], job) for d in documents],
        "not_translated": layout.report_key(job.job_id),
    }
    forgotten = not tx.tuples("known_objects", job_id=job.job_id, object_keys=[layout.manifest_key(job.job_id)])
    if there is not None and forgotten and (there["state"], _files_of(there)) == (state, _files_of(manifest)):
        report(tx, IncidentKind.DELIVERED_BEFORE, "the same output was delivered before", job_id=job.job_id)
        data = store.get(layout.manifest_key(job.job_id))
        rows = [StoredObject(**there["rows"])] if "rows" in there else []
        return [*rows, StoredObject(layout.manifest_key(job.job_id), hashlib.sha256(data).hexdigest(), len(data))]
    stored = snapshot.write(tx.connection, job.job_id, store)
    manifest["rows"] = asdict(stored)
    data = json.dumps(manifest, ensure_ascii=False, indent=1).encode()
    return [stored, store.put(layout.manifest_key(job.job_id), data)]


def _work(total: Total) -> dict[str, Any]:
    return {
        "target": total.target,
        "tier": total.tier,
        "models": total.models,
        "blocks": total.blocks,
        "segments": total.segments,
        "characters": total.characters,
        "score": total.score,
        "seconds": total.seconds,
        "cost": total.cost,
    }


def _document(document: Document, outputs: list[Output], job: Job) -> dict[str, Any]:
    return {
        "paths": document.paths,
        "sha256": document.document_id,
        "size_bytes": document.size_bytes,
        "format": document.format,
        "source": document.source,
        "state": document.state,
        "reason": document.reason or document.error,
        "outputs": [
            {
                "target": o.target,
                "files": [layout.output_key(job.job_id, o.target, path) for path in o.paths],
                "sha256": o.sha256,
                "size_bytes": o.size_bytes,
                "segments": o.segments,
                "translated": o.translated,
                "untranslated": o.untranslated,
                "provenance": layout.provenance_key(job.job_id, o.target, o.document_id),
            }
            for o in outputs
        ],
    }
