"""Rebuilds what a ledger knew of a delivered job from what lies beside its output, after the ledger was lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from uuid import UUID

from tradu import layout
from tradu.archival.context import archive_ledger
from tradu.errors import DamagedError, RequestError
from tradu.ledger import objects, rewind, snapshot
from tradu.ledger.connection import Ledger
from tradu.ledger.ids import created_at
from tradu.ledger.incidents import IncidentKind, report
from tradu.store import Store, StoredObject


def rebuild(job_id: UUID, ledger: Ledger, store: Store) -> dict[str, int]:
    """Write the rows of a job as they were when it was last delivered; how many of each table were missing.

    A second time changes nothing. What the ledger has and the manifest contradicts is left as it is, and told.

    Raises:
        RequestError: the job was not delivered, or by a version of Tradu that kept no rows.
        DamagedError: the manifest or the rows are not as they were written, or the ledger has other ones.
        LedgerRewoundError: nobody has accepted this ledger yet for this store.
        StoreError: the store can't be reached.
    """
    rewind.check(ledger, store)
    manifest, rows = _of_delivery(job_id, store)
    with ledger.transaction() as tx:
        tx.connection.execute("SELECT ensure_partitions(%s)", (created_at(job_id),))
    with archive_ledger().transaction() as tx, store.checked(rows.key, rows.sha256) as stream:
        added = snapshot.read(tx.connection, job_id, stream)
        if stream.read(1):
            raise DamagedError(f"{rows.key} has more in it than the rows of a job")
    with ledger.transaction() as tx:
        named = {key for (key,) in tx.tuples("known_objects", job_id=job_id, object_keys=[manifest.key, rows.key])}
        objects.add(tx, job_id, *(stored for stored in (manifest, rows) if stored.key not in named))
        if any(added.values()):
            said = f"{sum(added.values()):,} rows were rebuilt from {rows.key}"
            report(tx, IncidentKind.JOB_REBUILT, said, job_id=job_id, entity="job", entity_id=str(job_id))
    return added


def _of_delivery(job_id: UUID, store: Store) -> tuple[StoredObject, StoredObject]:
    """The manifest of a job, and the rows that it names."""
    key = layout.manifest_key(job_id)
    try:
        data = store.get(key)
    except FileNotFoundError:
        raise RequestError(
            f"{store.uri} has no {key}: the job was not delivered, or is archived (`tradu archive restore`)"
        ) from None
    try:
        manifest = json.loads(data)
        if "rows" not in manifest:
            raise RequestError(f"{key} is of Tradu {manifest.get('tradu')}, which kept no rows beside the output")
        rows = StoredObject(**manifest["rows"])
    except (ValueError, TypeError) as error:
        raise DamagedError(f"{key} can't be read: {error}") from error
    if manifest["job_id"] != str(job_id) or rows.key != layout.rows_key(job_id):
        raise DamagedError(f"{key} is the manifest of another job")
    return StoredObject(key, hashlib.sha256(data).hexdigest(), len(data)), rows


def delivered(store: Store) -> Iterator[UUID]:
    """Jobs that have a manifest in the store, in no order: found by a listing, for whoever has lost all else."""
    for key, _ in store.keys("output"):
        parts = key.split("/")
        if len(parts) == 3 and parts[2] == "manifest.json":
            yield UUID(parts[1])
