"""The rows of a job, into its archive and back: as Arrow, compared with the tables, removed by the archive role."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from itertools import chain
from tempfile import SpooledTemporaryFile
from types import MappingProxyType
from typing import Any, BinaryIO, cast
from uuid import UUID

import pyarrow as pa
from psycopg import sql

from tradu.archival import pack
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
_NONE: Mapping[str, BinaryIO] = MappingProxyType({})


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
        with held.ledger.transaction() as tx:
            rows = _write(tx, table, held.job.job_id, stream)
        if rows:
            stream.seek(0)
            counts[table] = rows
            yield _key_of(table), closing(stream)


def _write(tx: Transaction, table: str, job_id: UUID, sink: BinaryIO) -> int:
    """Write the rows of a job as an Arrow stream, the same bytes for the same rows; how many."""
    rows, batches = 0, dump(tx.connection, table, job_id)
    if first := next(batches, None):
        with pa.ipc.new_stream(sink, first.schema) as writer:
            for batch in chain([first], batches):
                writer.write_batch(batch)
                rows += batch.num_rows
    return rows


def _buffer() -> BinaryIO:
    return cast("BinaryIO", SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES))


def whole(store: Store, manifest: Manifest, keep: Mapping[str, BinaryIO] = _NONE) -> Iterator[StoredObject]:
    """Every member of an archive as it was read back; to be used to its end.

    Args:
        store: where the archive lies.
        manifest: what it should be.
        keep: where the bytes of some members go, by their keys.

    Raises:
        DamagedError: a member is not what the manifest says, or missing.
        FileNotFoundError: a pack is missing.
    """
    said = {m.key: m for m in manifest.members}
    for key, pieces in pack.read(store, [f.key for f in manifest.files]):
        digest, size, kept = hashlib.sha256(), 0, keep.get(key)
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            if kept is not None:
                kept.write(piece)
        stored = StoredObject(key, digest.hexdigest(), size)
        if said.pop(key, None) != stored:
            raise DamagedError(f"{key} in the archive of job {manifest.job_id} is not as it was packed")
        yield stored
    if said:
        raise DamagedError(f"{min(said)} is not in the archive of job {manifest.job_id}")


def _batches(key: str, content: BinaryIO) -> Iterator[pa.RecordBatch]:
    try:
        yield from pa.ipc.open_stream(content)
    except pa.ArrowInvalid as error:
        raise DamagedError(f"{key}: the rows in the archive can't be read: {error}") from error


def forget(held: Held, manifest: Manifest) -> None:
    """Remove the rows of an archived job, all or none, where they are those in its archive, byte for byte; a second
    time does nothing.

    Raises:
        ChangedError: they are not those that were archived: nothing is removed.
    """
    job_id = held.job.job_id
    with held.ledger.transaction() as tx:
        if not tx.tuples("has_history", job_id=job_id):  # every job has some: this was done already
            return
        if changed := _changed(tx, manifest) or _miscounted(delete(tx, job_id), manifest):
            raise ChangedError(f"job {job_id} was changed while it was archived: {changed}")


def _changed(tx: Transaction, manifest: Manifest) -> str:
    """Tables whose rows are not those in the archive."""
    said = {m.key: m.sha256 for m in manifest.members}
    differ = []
    for table in (t for t in TAKEN if t != _SHARED):
        sink = _Digest()
        rows = _write(tx, table, UUID(manifest.job_id), cast("BinaryIO", sink))
        if said.get(_key_of(table)) != (sink.digest.hexdigest() if rows else None):
            differ.append(table)
    return ", ".join(differ)


class _Digest(io.RawIOBase):
    """Takes a stream for its checksum alone."""

    def __init__(self) -> None:
        super().__init__()
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return memoryview(data).nbytes


def _miscounted(found: dict[str, int], manifest: Manifest) -> str:
    """What was removed besides or left behind, for it came in between."""
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
    """Bring the rows of an archived job back; a second time does the same. The whole archive is read before: a
    transaction that waited for that would be ended by the ledger.

    Raises:
        DamagedError: the archive is not as it was written: nothing comes back.
    """
    job_id = held.job.job_id
    with ExitStack() as stack:
        tables = {m.key: stack.enter_context(_buffer()) for m in manifest.members if m.key.startswith(LEDGER)}
        for _ in whole(held.store, manifest, tables):
            pass
        with held.line.transaction() as tx:
            tx.connection.execute("SELECT ensure_partitions(%s)", (created_at(job_id),))
        with held.ledger.transaction() as tx:
            tx.run("unclear_archive", job_id=job_id)
            for key, content in tables.items():
                content.seek(0)
                load(tx.connection, _table_of(key), job_id, _batches(key, content))
