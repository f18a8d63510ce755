"""Archives a job: packs what it has, reads the packs back, and only then clears it away from hot.

The steps are in an order in which a process may be killed between any two: until the catalogue names the archive the
job is hot and a next run writes the archive again; from then on a next run only has to clear away.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from itertools import islice
from typing import BinaryIO

from tradu import layout
from tradu.archival import catalogue, pack, restore, rows, tiers
from tradu.archival.context import Held, Step, no_step
from tradu.archival.manifest import LEDGER, Manifest
from tradu.archival.policy import Policy, Residence
from tradu.errors import DamagedError, RequestError
from tradu.ledger import objects
from tradu.ledger.connection import Ledger
from tradu.ledger.incidents import IncidentKind, report
from tradu.ledger.rows import Document
from tradu.store import Store, StoredObject

log = logging.getLogger(__name__)
SAY_AGAIN_SECONDS = 86_400
CLEARED_AT_ONCE = 1_000
"""Documents that go in one transaction, with one request to S3: while it lasts nobody can register one, and a
transaction that waits for the store for long is ended by the ledger."""
STEPS = ("write", "verify", "catalogue", "settle", "forget", "clear")
"""What `archive` does, in this order."""


def archive(held: Held, tier: Residence, policy: Policy, by: str, done: Step = no_step) -> Manifest:
    """Bring a job that has ended from hot to a tier of archives; or finish what a killed run has begun.

    Raises:
        RequestError: the job is open, or purged, or something keeps it where it is.
        DamagedError: something of the job is not as it was written: it stays hot, and an incident says so.
        ChangedError: the job was changed meanwhile: it is hot, and the next run archives it as it is.
    """
    job = held.job
    if job.residence == Residence.PURGED:
        raise RequestError(f"job {job.job_id} was purged: it is gone for ever")
    if job.residence == Residence.HOT:
        if kept := _kept(held):
            raise RequestError(f"job {job.job_id} {kept}")
        try:
            manifest, written = _write(held, by)
            done("write")
            verify(held, manifest)
            done("verify")
        except (DamagedError, FileNotFoundError) as error:
            raise _damaged(held, error) from error
        catalogue.enter(held, tier, manifest, written)
        done("catalogue")
    else:
        manifest = catalogue.entered_manifest(held.ledger, held.store, job.job_id)
        tier = Residence(job.residence)
    tiers.settle(held.store, manifest, policy.storage_class(tier))
    done("settle")
    _forget(held, manifest)
    done("forget")
    clear(held, manifest)
    done("clear")
    log.info("archived %d objects to %s", len(manifest.objects), tier)
    return manifest


def _kept(held: Held) -> str | None:
    """Why a job stays in hot; None where nothing keeps it."""
    found = next(catalogue.candidates(held.line, held.job.job_id), None)
    return found.kept if found else f"is {held.job.state}"


def _write(held: Held, by: str) -> tuple[Manifest, StoredObject]:
    """Packs, and last the manifest; what an earlier attempt or archive has left is of no use."""
    held.ledger.check()
    held.store.remove(layout.archive_prefix(held.job.job_id))
    counts: dict[str, int] = {}
    packed = pack.write(held.store, held.job.job_id, _sources(held, counts))
    manifest = Manifest(
        job_id=str(held.job.job_id),
        tenant=held.job.tenant,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        made_by=by,
        files=packed.files,
        members=packed.members,
        rows=counts,
    )
    return manifest, held.store.put(layout.archive_key(held.job.job_id), manifest.encode())


def _sources(held: Held, counts: dict[str, int]) -> Iterator[tuple[str, AbstractContextManager[BinaryIO]]]:
    yield from rows.streams(held, counts)
    for stored in _objects(held):
        yield stored.key, held.store.reading(stored.key)


def _objects(held: Held) -> Iterator[StoredObject]:
    """Every object of the job as the ledger names it; raw documents are shared with other jobs."""
    with held.ledger.transaction() as tx:
        documents = tx.rows("documents", Document, job_id=held.job.job_id)
    for document in sorted(documents, key=lambda d: d.document_id):
        if document.size_bytes:
            yield StoredObject(layout.raw_key(document.document_id), document.document_id, document.size_bytes)
    yield from objects.of_job(held.ledger, held.job.job_id)


def verify(held: Held, manifest: Manifest) -> None:
    """Read an archive back, every byte: members are what the manifest says, and objects what the ledger names. That
    rows are what its tables hold is made sure of when they are removed (`rows.forget`).

    Raises:
        DamagedError: something differs.
    """
    expected = {stored.key: stored for stored in _objects(held)}
    for stored in rows.whole(held.store, manifest):
        if not stored.key.startswith(LEDGER) and expected.pop(stored.key, None) != stored:
            raise DamagedError(f"{stored.key} is damaged: it is not what the ledger names")
    if expected:
        raise DamagedError(f"{min(expected)} is not in the archive")


def _damaged(held: Held, error: Exception) -> DamagedError:
    job_id = held.job.job_id
    said = str(error) if isinstance(error, DamagedError) else f"an object is missing: {error}"
    with held.ledger.transaction() as tx:
        report(
            tx,
            IncidentKind.NOT_ARCHIVED,
            f"an object is missing or damaged: `tradu verify {job_id}` says which",  # its key may be a document's name
            job_id=job_id,
            entity="job",
            entity_id=str(job_id),
            once_seconds=SAY_AGAIN_SECONDS,
        )
    return DamagedError(f"job {job_id} stays hot: {said}")


def _forget(held: Held, manifest: Manifest) -> None:
    try:
        rows.forget(held, manifest)
    except rows.ChangedError:
        if any(held.store.problem(m.key, m.sha256) for m in manifest.objects):
            restore.unpack(held, manifest)  # a restore that was killed has brought back rows alone
        catalogue.revive(held)
        raise


def clear(held: Held, manifest: Manifest) -> None:
    """Remove what an archived job still has in hot. A raw document goes with the last hot job that has it."""
    held.ledger.check()
    for prefix in layout.hot_prefixes(held.job.job_id):
        held.store.remove(prefix)
    clear_raw(held.ledger, held.store, (m.sha256 for m in manifest.objects if m.key.startswith("raw/")))
    with held.ledger.transaction() as tx:
        tx.run("clear_archive", job_id=held.job.job_id)


def clear_raw(ledger: Ledger, store: Store, documents: Iterable[str]) -> None:
    """Remove the bytes of those of these documents that no job has which stays; none is registered meanwhile.

    Killed on the way, it is to be called again.
    """
    left = iter(documents)
    while some := list(islice(left, CLEARED_AT_ONCE)):
        with ledger.transaction() as tx:
            tx.run("lock_raw")
            named = {document for (document,) in tx.tuples("kept_raw", document_ids=some)}
            store.remove_objects(layout.raw_key(document) for document in some if document not in named)
