"""Restores a job from its archive: the same bytes under the same keys, the same rows, and the line can use it again."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from tradu import layout
from tradu.archival import catalogue, pack, rows, tiers
from tradu.archival.context import Held, Step, no_step
from tradu.archival.manifest import LEDGER, Manifest
from tradu.archival.policy import Policy, Residence
from tradu.errors import DamagedError, RequestError, TransientError
from tradu.store import StoredObject

log = logging.getLogger(__name__)
STEPS = ("load", "unpack", "revive")
"""What `restore` does, in this order."""


class AsleepError(TransientError):
    """The archive lies in a storage class that must be asked for and waited for."""


def restore(held: Held, policy: Policy, done: Step = no_step) -> bool:
    """Bring an archived job back to hot; false where it is there. The archive stays until the job is archived anew.

    Its rows come first: they keep documents that it shares with others from being cleared away. The job is the line's
    again with the last step.

    Raises:
        RequestError: the job was purged.
        AsleepError: the archive was asked for, and can't be read yet.
        DamagedError: the archive is not as it was written.
    """
    job = held.job
    if job.residence == Residence.HOT:
        return False
    if job.residence == Residence.PURGED:
        raise RequestError(f"job {job.job_id} was purged: it is gone for ever")
    manifest = catalogue.entered_manifest(held.ledger, held.store, job.job_id)
    if waiting := tiers.wake(held.store, [f.key for f in manifest.files], policy):
        raise AsleepError(f"{waiting} objects of the archive of job {job.job_id} were asked for: wait for them")
    try:
        rows.restore(held, manifest)
        done("load")
        unpack(held, manifest)
        done("unpack")
    except FileNotFoundError as error:
        if not held.store.is_there():
            raise
        raise DamagedError(f"a part of the archive of job {job.job_id} is missing: {error}") from error
    catalogue.revive(held)
    done("revive")
    log.info("restored %d objects", len(manifest.objects))
    return True


def unpack(held: Held, manifest: Manifest) -> None:
    """Write the objects of an archive where they were, each compared with its checksum before it appears.

    Raises:
        DamagedError: one is not as it was packed, or missing, or none of the job's.
    """
    said, where = {m.key: m for m in manifest.objects}, f"the archive of job {held.job.job_id}"
    for key, pieces in pack.read(held.store, [f.key for f in manifest.files]):
        if key.startswith(LEDGER):
            continue
        wanted = said.pop(key, None)
        if wanted is None:
            raise DamagedError(f"{key} is in {where}, and not in its manifest")
        if not layout.is_of_job(key, held.job.job_id) and key != layout.raw_key(wanted.sha256):
            raise DamagedError(f"{key} in {where} is no object of that job")
        if held.store.problem(key, wanted.sha256) is not None:
            _write(held, wanted, pieces)
    if said:
        raise DamagedError(f"{min(said)} is not in {where}")


def _write(held: Held, wanted: StoredObject, pieces: Iterator[bytes]) -> None:
    with held.store.writing(wanted.key) as stream:
        for piece in pieces:
            stream.write(piece)
        if stream.stored != wanted:
            raise DamagedError(f"{wanted.key} is damaged in the archive of job {held.job.job_id}")
