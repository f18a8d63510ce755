"""The rows of one job as one object beside its output, and back: what a lost ledger is rebuilt from.

An object is a row of Arrow streams, one for each table (https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format),
each with the table's name in the metadata of its schema.
"""

from __future__ import annotations

from typing import BinaryIO
from uuid import UUID

import psycopg
import pyarrow as pa

from tradu import layout
from tradu.errors import DamagedError
from tradu.ledger.dump import TABLES, dump, load, schema
from tradu.store import Store, StoredObject

TAKEN = tuple(table for table in TABLES if table != "stage_leases")
"""A lease is of the process that holds it, and of no use to another ledger."""
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")
_TABLE = b"tradu.table"


def write(connection: psycopg.Connection, job_id: UUID, store: Store) -> StoredObject:
    """Write the rows of a job as this transaction sees them. Memory holds some thousand rows."""
    with store.writing(layout.rows_key(job_id)) as stream:
        for table in TAKEN:
            fields = schema(connection, table).with_metadata({_TABLE: table.encode()})
            with pa.ipc.new_stream(stream, fields, options=_OPTIONS) as writer:
                for batch in dump(connection, table, job_id):
                    writer.write_batch(batch)
    return stream.stored


def read(connection: psycopg.Connection, job_id: UUID, stream: BinaryIO) -> dict[str, int]:
    """Insert rows that the ledger does not have; how many of each table. A second time adds nothing.

    The connection acts as `tradu_archive`; the partitions of the job's month are there.

    Raises:
        DamagedError: that isn't what `write` wrote, or rows contradict what the ledger has.
        RequestError: a newer version of Tradu wrote it.
    """
    added = {}
    for table in TAKEN:
        try:
            reader = pa.ipc.open_stream(stream)
            named = (reader.schema.metadata or {}).get(_TABLE, b"").decode()
            if named != table:
                raise DamagedError(f"the rows of job {job_id}: {named or 'something'} stands where {table} should")
            added[table] = load(connection, table, job_id, reader)
        except pa.ArrowException as error:
            raise DamagedError(f"the rows of job {job_id} can't be read: {error}") from error
    return added
