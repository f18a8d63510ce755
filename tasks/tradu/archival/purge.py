"""Removes a job for ever: its objects, its archive and its rows. What is left is its number, and a certificate."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from tradu import layout
from tradu.archival import archive, origins, rows
from tradu.archival.context import Held, Step, no_step
from tradu.errors import RequestError
from tradu.ledger.connection import Ledger, Transaction
from tradu.settings import get_settings

log = logging.getLogger(__name__)


def purge_job(held: Held, kind: str, by: str, done: Step = no_step) -> dict[str, int]:
    """Remove a job that has ended, wherever it lies; what was removed. Documents that other jobs have stay with them;
    of others, the files go too that were put into the landing prefix or the uploads.

    First it is condemned, so that nobody holds or restores it; then its objects go, and last its rows: a process that
    is killed on the way leaves a job that the next run of the purge finishes.

    Raises:
        RequestError: the job is open, or under legal hold.
    """
    job, store = held.job, held.store
    with held.ledger.transaction() as tx:
        if not tx.run("condemn_job", job_id=job.job_id):
            raise RequestError(f"job {job.job_id} is under legal hold: `tradu archive release {job.job_id}` ends it")
        # those of an archived one too: a run that was killed may not have cleared them away
        documents = [d for (d,) in tx.tuples("documents_of_job", job_id=job.job_id)]
        alone = {d for (d,) in tx.tuples("documents_of_job_alone", job_id=job.job_id)}
        ((objects, size),) = tx.tuples("weigh_job", job_id=job.job_id)
    done("condemn")
    held.ledger.check()
    for prefix in (layout.archive_prefix(job.job_id), *layout.hot_prefixes(job.job_id)):
        store.remove(prefix)
    archive.clear_raw(held.ledger, store, documents)
    removed = origins.remove(job, alone, get_settings())
    done("remove")
    with held.ledger.transaction() as tx:
        counts = {"jobs": 1, "objects": objects, "bytes": size, "origins": len(removed), **rows.delete(tx, job.job_id)}
        tx.run("forget_incidents", job_id=job.job_id)
        tx.run("leave_documents", job_id=job.job_id)
        tx.run("forget_archive", job_id=job.job_id)
        tx.run("bury_job", job_id=job.job_id)
        certify(tx, kind, str(job.job_id), counts, by)
        done("certify")
    log.info("purged %d objects", objects)
    return counts


def certify(tx: Transaction, kind: str, subject: str, counts: Mapping[str, int], by: str) -> None:
    """Write the certificate: what kind of thing was erased, how much of it, when, by whom; neither names nor text.

    Where nothing was left to remove there is only one if there is none yet: whoever asks a second time gets no second.
    """
    digest, removed = hashlib.sha256(subject.encode()).hexdigest(), any(counts.values())
    tx.run("certify_erasure", kind=kind, subject_sha256=digest, counts=Jsonb(dict(counts)), by=by, removed=removed)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was removed for ever."""

    erasure_id: int
    kind: str
    subject_sha256: str
    """Of the id of the job or document, or of the name of the tenant."""
    counts: dict[str, Any]
    by: str
    at: datetime


def certificates(ledger: Ledger, limit: int) -> list[Certificate]:
    """Certificates, the newest first."""
    with ledger.transaction() as tx:
        return tx.rows("erasures", Certificate, limit=limit)
