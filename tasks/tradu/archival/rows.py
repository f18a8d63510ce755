"""The rows of a job, into its archive and back: as Arrow, compared with the tables, removed by the archive role."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from itertools import zip_longest
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast
from uuid import UUID

import pyarrow as pa
from psycopg import sql

from tradu.archival import catalogue, pack
from tradu.archival.context import Held
from tradu.archival.manifest import LEDGER, Manifest
from tradu.errors import DamagedError, TransientError
from tradu.ledger.connection import Transaction
from tradu.ledger.dump import TABLES, dump, load
from tradu.ledger.ids import created_at
from tradu.store import Store, StoredObject

TAKEN = tuple(table for table in TABLES if table not in ("jobs", "stage_leases", "incidents"))
"""Tables whose rows go. The row of the job stays, its incidents, and the lease under which all this is done."""
_SHARED = "known_segments"
"""What is known of a job's translations may pass to another job at any time, so nobody counts on it."""
_DELETE = sql.SQL("DELETE FROM {} WHERE job_id = %s")
_DELETE_SHARED = sql.SQL(
    "DELETE FROM known_segments USING results r WHERE known_segments.result_id = r.result_id AND r.job_id = %s"
)
_IN_MEMORY_BYTES = 32 << 20


class ChangedError(TransientError):
    """A job was changed while it was archived: it is archived as it is now by the next run."""


def _key_of(table: str) -> str:
    return f"{LEDGER}{table}.arrow"


def _table_of(key: str) -> str:
    return key.removeprefix(LEDGER).removesuffix(".arrow")


def streams(held: Held, counts: dict[str, int]) -> Iterator[tuple[str, AbstractContextManager[BinaryIO]]]:
    """The rows of a job, a stream for each table that has some; `counts` says afterwards how many."""
    for table in TAKEN:
        stream = _buffer()
        rows = 0
        with held.ledger.transaction() as tx:
            batches = dump(tx.connection, table, held.job.job_id)
            if first := next(batches, None):
                with pa.ipc.new_stream(stream, first.schema) as writer:
                    for batch in _chained(first, batches):
                        writer.write_batch(batch)
                        rows += batch.num_rows
        if rows:
            stream.seek(0)
            counts[table] = rows
            yield _key_of(table), closing(stream)


def _chained(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _buffer() -> BinaryIO:
    return cast("BinaryIO", SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES))


def read_back(store: Store, manifest: Manifest) -> Iterator[tuple[str, StoredObject, BinaryIO | None]]:
    """Every member of an archive as it is: its key, what it measures, and the rows where it is a table's."""
    for key, pieces in pack.read(store, [f.key for f in manifest.files]):
        digest, size = hashlib.sha256(), 0
        content = _buffer() if key.startswith(LEDGER) else None
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            if content is not None:
                content.write(piece)
        if content is not None:
            content.seek(0)
        yield key, StoredObject(key, digest.hexdigest(), size), content


def compare(held: Held, key: str, content: BinaryIO) -> None:
    """Make sure that rows in the archive are those of the ledger.

    Raises:
        DamagedError: they differ.
    """
    with held.ledger.transaction() as tx, closing(content):
        own = dump(tx.connection, _table_of(key), held.job.job_id)
        for packed, now in zip_longest(_batches(key, content), own):
            if packed is None or now is None or not packed.equals(now):
                raise DamagedError(f"{key}: the rows in the archive are not those of the ledger")


def _batches(key: str, content: BinaryIO) -> Iterator[pa.RecordBatch]:
    try:
        yield from pa.ipc.open_stream(content)
    except pa.ArrowInvalid as error:
        raise DamagedError(f"{key}: the rows in the archive can't be read: {error}") from error


def forget(held: Held, manifest: Manifest) -> None:
    """Remove the rows of an archived job, all or none; a second time does nothing.

    Raises:
        ChangedError: they are not those that were archived: the job is hot again.
    """
    job_id = held.job.job_id
    try:
        with held.ledger.transaction() as tx:
            if not tx.tuples("has_history", job_id=job_id):  # every job has some: this was done already
                return
            if changed := _changed(delete(tx, job_id), manifest):
                raise ChangedError(f"job {job_id} was changed while it was archived: {changed}")
    except ChangedError:
        catalogue.revive(held)
        raise


def _changed(found: dict[str, int], manifest: Manifest) -> str:
    differ = (
        f"{table}: {found.get(table, 0)} rows and not {manifest.rows.get(table, 0)}"
        for table in TAKEN
        if table != _SHARED and found.get(table, 0) != manifest.rows.get(table, 0)
    )
    return "; ".join(differ)


def delete(tx: Transaction, job_id: UUID) -> dict[str, int]:
    """Delete the rows of a job, which only the archive role may; how many of each table that has some."""
    counts = {}
    for table in reversed(TAKEN):
        statement = _DELETE_SHARED if table == _SHARED else _DELETE.format(sql.Identifier(table))
        if rows := tx.connection.execute(statement, (job_id,)).rowcount:
            counts[table] = rows
    return counts


def restore(held: Held, manifest: Manifest) -> None:
    """Bring the rows of an archived job back; a second time does the same."""
    job_id = held.job.job_id
    with held.line.transaction() as tx:
        tx.connection.execute("SELECT ensure_partitions(%s)", (created_at(job_id),))
    with held.ledger.transaction() as tx:
        tx.run("unclear_archive", job_id=job_id)
        for key, _, content in read_back(held.store, manifest):
            if content is not None:
                load(tx.connection, _table_of(key), job_id, _batches(key, content))
