"""The catalogue of archives in the ledger: which job lies where, what it takes there, and who may not be touched."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tradu import layout
from tradu.archival.context import Held
from tradu.archival.manifest import Manifest, decode
from tradu.archival.policy import Candidate, Residence, why_kept
from tradu.errors import DamagedError, RequestError
from tradu.ledger.connection import Ledger, Transaction
from tradu.ledger.incidents import IncidentKind, report
from tradu.store import Store, StoredObject

PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Archive:
    """A row of the catalogue."""

    job_id: UUID
    tenant: str
    residence: str
    legal_hold: bool
    made_at: datetime
    objects: int
    blocks: int
    hot_bytes: int
    """What the job took in hot: its objects and its rows."""
    cold_bytes: int
    """What its archive takes."""
    cleared_at: datetime | None
    restored_at: datetime | None
    scrubbed_at: datetime | None
    rollout: int | None
    """A rollout that has blocks of it and is not decided."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A job that stays where it is, however old."""

    job_id: UUID
    tenant: str
    residence: str
    legal_hold: bool
    rollout: int | None
    """A rollout that has blocks of it and is not decided."""

    @property
    def why(self) -> str:
        """As the end of a sentence about it."""
        return why_kept(self.job_id, self.legal_hold, self.rollout) or ""


def candidates(ledger: Ledger, job_id: UUID | None = None) -> Iterator[Candidate]:
    """Jobs that have ended and are not purged, as the policy sees them; or one of them."""
    after = UUID(int=0)
    while True:
        with ledger.transaction() as tx:
            page = tx.rows("archive_candidates", Candidate, after=after, job_id=job_id, limit=PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].job_id


def archives(tx: Transaction, job_id: UUID | None, limit: int, offset: int = 0) -> list[Archive]:
    """Archives, the newest first."""
    return tx.rows("archives", Archive, job_id=job_id, limit=limit, offset=offset)


def kept(tx: Transaction, limit: int | None = None) -> list[Kept]:
    """Jobs that stay where they are, however old, the oldest first."""
    return tx.rows("kept_jobs", Kept, limit=limit)


def manifest_of(store: Store, job_id: UUID) -> Manifest:
    """The manifest of a job's archive as it lies there.

    Raises:
        DamagedError: there is none, or it can't be read.
    """
    return decode(layout.archive_key(job_id), _read(store, job_id))


def entered_manifest(ledger: Ledger, store: Store, job_id: UUID) -> Manifest:
    """The manifest of a job's archive, which is the one that was verified: nothing is removed or restored by another.

    Raises:
        DamagedError: there is none, or it can't be read, or it is another one.
    """
    with ledger.transaction() as tx:
        entered = tx.tuples("entered_manifest", job_id=job_id)
    key, data = layout.archive_key(job_id), _read(store, job_id)
    if (hashlib.sha256(data).hexdigest(),) not in entered:
        raise DamagedError(f"{key} is not the manifest that the ledger names")
    return decode(key, data)


def _read(store: Store, job_id: UUID) -> bytes:
    key = layout.archive_key(job_id)
    try:
        return store.get(key)
    except FileNotFoundError:
        raise DamagedError(f"{key} is missing: the archive of job {job_id} is lost") from None


def enter(held: Held, tier: Residence, manifest: Manifest, written: StoredObject) -> None:
    """Name an archive that was verified: from here on its job is archived."""
    with held.ledger.transaction() as tx:
        tx.run(
            "enter_archive",
            job_id=held.job.job_id,
            format=manifest.format,
            objects=len(manifest.objects),
            blocks=manifest.rows.get("blocks", 0),
            hot_bytes=sum(m.size_bytes for m in manifest.members),
            cold_bytes=sum(f.size_bytes for f in (*manifest.files, written)),
            manifest_sha256=written.sha256,
            manifest_bytes=written.size_bytes,
        )
        tx.run("enter_documents", job_id=held.job.job_id)
        tx.run("reside", job_id=held.job.job_id, residence=tier)


def cool(held: Held, tier: Residence) -> None:
    """The archive lies in another tier."""
    with held.ledger.transaction() as tx:
        tx.run("reside", job_id=held.job.job_id, residence=tier)


def revive(held: Held) -> None:
    """The job is the line's again."""
    with held.ledger.transaction() as tx:
        tx.run("restored_archive", job_id=held.job.job_id)
        tx.run("leave_documents", job_id=held.job.job_id)
        tx.run("reside", job_id=held.job.job_id, residence=Residence.HOT)


def hold(ledger: Ledger, job_id: UUID, legal_hold: bool, by: str) -> None:
    """Put a job under legal hold, or release it; who did is an incident.

    Raises:
        RequestError: the job was purged.
    """
    with ledger.transaction() as tx:
        if not tx.run("hold_job", job_id=job_id, legal_hold=legal_hold):
            raise RequestError(f"job {job_id} was purged: there is nothing left to hold")
        kind = IncidentKind.HELD if legal_hold else IncidentKind.RELEASED
        report(tx, kind, f"by {by}", job_id=job_id, entity="job", entity_id=str(job_id))
