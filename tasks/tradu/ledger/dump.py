"""A job's rows as Arrow, table by table, and back again as they were: for archives, and for manifests of deliveries.

Rows are read and loaded inside a transaction of the caller's, a few thousand at a time. A dump is whole by itself: it
names what it has by columns, so one that an older schema wrote is loaded by a newer one, whose other columns then take
their defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from tradu.errors import DamagedError, RequestError, TransientError

ROWS = 8_192
"""Rows of a record batch."""


@dataclass(frozen=True, slots=True)
class JobTable:
    """How the rows of one job are told in a table, and in which order they are dumped."""

    order: tuple[str, ...]
    own_id: str | None = None
    """A column the ledger numbers by itself: a row keeps its number where no other row has it."""
    token: bool = False
    """Whether its column `token` is drawn from the sequence of fencing tokens."""


TABLES: Mapping[str, JobTable] = MappingProxyType(
    {
        "jobs": JobTable(("job_id",)),
        "documents": JobTable(("document_id",)),
        "shards": JobTable(("shard",)),
        "batches": JobTable(("batch",)),
        "blocks": JobTable(("block_id",), token=True),
        "outputs": JobTable(("document_id", "target")),
        "objects": JobTable(("object_key",)),
        "dead_letters": JobTable(("at", "entity_id")),
        "history": JobTable(("entity_id", "at", "from_state", "to_state")),
        "incidents": JobTable(("incident_id",), own_id="incident_id"),
        "results": JobTable(("result_id",), own_id="result_id"),
        "known_segments": JobTable(("segment_key",)),
        "stage_leases": JobTable(("stage",), token=True),
        "decisions": JobTable(("at", "gate")),
        "spending": JobTable(("day", "models")),
    }
)
"""Every table with rows of jobs, in an order in which they can be loaded (and, from the end, be deleted)."""

_ARROW: Mapping[str, pa.DataType] = MappingProxyType(
    {
        "uuid": pa.binary(16),
        "text": pa.string(),
        "text[]": pa.list_(pa.string()),
        "jsonb": pa.string(),
        "smallint": pa.int16(),
        "integer": pa.int32(),
        "bigint": pa.int64(),
        "real": pa.float32(),
        "double precision": pa.float64(),
        "boolean": pa.bool_(),
        "bytea": pa.binary(),
        "date": pa.date32(),
        "timestamp with time zone": pa.timestamp("us", "UTC"),
    }
)
"""Types of columns. uuid as its 16 bytes; jsonb as its text, which keeps numbers to their last digit."""
_READ = MappingProxyType({"uuid": "uuid_send({})", "jsonb": "{}::text"})


def schema(connection: psycopg.Connection, table: str) -> pa.Schema:
    """The Arrow schema of a table's dump; each field's metadata has the type it has in PostgreSQL.

    Raises:
        RequestError: no table of `TABLES`.
    """
    _known(table)
    if table == "known_segments":  # the number of a results object is the ledger's own; its key is the same everywhere
        columns = [("segment_key", "bytea"), ("object_key", "text"), ("row_number", "integer")]
    else:
        columns = connection.execute(
            "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute "
            "WHERE attrelid = %s::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (table,),
        ).fetchall()
    return pa.schema([pa.field(name, _ARROW[kind], metadata={"postgresql": kind}) for name, kind in columns])


def dump(connection: psycopg.Connection, table: str, job_id: UUID, rows: int = ROWS) -> Iterator[pa.RecordBatch]:
    """The rows of a job in a table, always in the same order; no batch where it has none.

    Raises:
        RequestError: no table of `TABLES`.
    """
    fields = schema(connection, table)
    query = sql.SQL("SELECT {columns} FROM {rows} ORDER BY {order}").format(
        columns=sql.SQL(", ").join(_read(field) for field in fields),
        rows=_rows_of(table),
        order=_names(TABLES[table].order),
    )
    with connection.cursor(f"dump_{table}", binary=True) as cursor:
        cursor.execute(query, (job_id,))
        while page := cursor.fetchmany(rows):
            columns = zip(*page, strict=True)
            yield pa.record_batch([pa.array(v, f.type) for v, f in zip(columns, fields, strict=True)], schema=fields)


def load(connection: psycopg.Connection, table: str, job_id: UUID, batches: Iterable[pa.RecordBatch]) -> int:
    """Insert dumped rows that the table does not have; how many. A second load adds nothing.

    The connection must act as the role `tradu_archive`, whose rows are taken as they are; the partitions for the job's
    month must be there, and so must the tables before this one in `TABLES`.

    Raises:
        RequestError: no table of `TABLES`, or a dump of a newer version of Tradu.
        DamagedError: rows of another job, or such as contradict what the ledger has.
        TransientError: the partitions are not there (any more).
    """
    fields = schema(connection, table)
    incoming = sql.Identifier(f"incoming_{table}")
    connection.execute(
        sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT {} FROM {} WITH NO DATA").format(
            incoming, _names(fields.names), _rows_of(table, limit_to_job=False)
        )
    )
    connection.execute(sql.SQL("DELETE FROM {}").format(incoming))
    names = _copy_in(connection, table, incoming, batches, fields)
    if not names:
        return 0
    _check_job(connection, table, incoming, job_id)
    _advance(connection, table, incoming)
    try:
        return connection.execute(_insert(table, incoming, names), {"job_id": job_id}).rowcount
    except psycopg.errors.UniqueViolation as error:
        raise DamagedError(
            f"{table}: the ledger has other rows of job {job_id} than the dump ({error.diag.message_detail})"
        ) from error
    except psycopg.errors.CheckViolation as error:
        if error.diag.constraint_name:
            raise
        # the partitions were empty, and have just been taken away
        raise TransientError(f"{table} has no partition for job {job_id}: try again") from error


def _known(table: str) -> None:
    if table not in TABLES:
        raise RequestError(f"{table} has no rows of jobs: it is none of {', '.join(TABLES)}")


def _names(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _read(field: pa.Field) -> sql.Composable:
    return sql.SQL(_READ.get(field.metadata[b"postgresql"].decode(), "{}")).format(sql.Identifier(field.name))


def _rows_of(table: str, *, limit_to_job: bool = True) -> sql.Composable:
    """What stands after FROM."""
    if table == "known_segments":
        rows: sql.Composable = sql.SQL("known_segments JOIN results USING (result_id)")
    else:
        rows = sql.Identifier(table)
    return rows + sql.SQL(" WHERE job_id = %s") if limit_to_job else rows


def _copy_in(
    connection: psycopg.Connection,
    table: str,
    incoming: sql.Identifier,
    batches: Iterable[pa.RecordBatch],
    fields: pa.Schema,
) -> list[str]:
    """Copy the batches into a temporary table; the columns that they have."""
    names: list[str] = []
    for batch in batches:
        if not names:
            names = batch.schema.names
            if strange := set(names) - set(fields.names):
                raise RequestError(f"{table}: the dump is of a newer version of Tradu, it has {', '.join(strange)}")
        copy_into = sql.SQL("COPY {} ({}) FROM STDIN").format(incoming, _names(batch.schema.names))
        with connection.cursor() as cursor, cursor.copy(copy_into) as copy:
            for row in zip(*(_written(column) for column in batch.columns), strict=True):
                copy.write_row(row)
    return names


def _written(column: pa.Array) -> list[Any]:
    """The values of a column as PostgreSQL reads them in text."""
    if pa.types.is_fixed_size_binary(column.type):
        return [value and value.hex() for value in column.to_pylist()]
    if pa.types.is_timestamp(column.type):  # to the microsecond, and quicker than datetimes
        return list(pc.cast(column, pa.string()).to_pylist())
    return list(column.to_pylist())


def _check_job(connection: psycopg.Connection, table: str, incoming: sql.Identifier, job_id: UUID) -> None:
    """Raises DamagedError where a row is of another job, which nobody asked to load."""
    if table == "known_segments":
        return  # it names its results objects, and only those of the job are joined
    strange = sql.SQL("SELECT job_id FROM {} WHERE job_id IS DISTINCT FROM %s LIMIT 1").format(incoming)
    if found := connection.execute(strange, (job_id,)).fetchone():
        raise DamagedError(f"{table}: the dump of job {job_id} has rows of job {found[0]}")


def _advance(connection: psycopg.Connection, table: str, incoming: sql.Identifier) -> None:
    """Let numbers that the ledger draws begin above those of the rows that come."""
    rule = TABLES[table]
    highest: sql.Composable
    if rule.own_id:
        sequence, highest = f"{table}_{rule.own_id}_seq", sql.SQL("max({})").format(sql.Identifier(rule.own_id))
    elif rule.token:
        sequence, highest = "fencing_tokens", sql.SQL("max(token) >> 20")
    else:
        return
    connection.execute(
        sql.SQL(
            "SELECT setval({name}, n) FROM (SELECT {highest} AS n FROM {incoming}) AS i "
            "WHERE n > (SELECT last_value FROM {sequence})"
        ).format(name=sequence, highest=highest, incoming=incoming, sequence=sql.Identifier(sequence))
    )


def _insert(table: str, incoming: sql.Identifier, names: list[str]) -> sql.Composed:
    """The statement that takes over what the table does not have yet."""
    own_id = TABLES[table].own_id
    if table == "known_segments":  # a translation that another job made known since then stays
        return sql.SQL(
            "INSERT INTO known_segments (segment_key, result_id, row_number) "
            "SELECT i.segment_key, r.result_id, i.row_number FROM {} i "
            "JOIN results r ON r.object_key = i.object_key AND r.job_id = %(job_id)s "
            "ON CONFLICT (segment_key) DO NOTHING"
        ).format(incoming)
    if own_id is None:  # ALL: a table without a key may have the same row twice
        return sql.SQL(
            "INSERT INTO {table} ({names}) SELECT {names} FROM {incoming} "
            "EXCEPT ALL SELECT {names} FROM {table} WHERE job_id = %(job_id)s"
        ).format(table=sql.Identifier(table), names=_names(names), incoming=incoming)
    others = [name for name in names if name != own_id]
    return sql.SQL(
        "INSERT INTO {table} ({own_id}, {names}) OVERRIDING SYSTEM VALUE "
        "SELECT CASE WHEN EXISTS (SELECT FROM {table} t WHERE t.{own_id} = i.{own_id}) "
        "THEN nextval({sequence}) ELSE {own_id} END, {names} FROM {incoming} i "
        "WHERE ROW({names})::text IN (SELECT ROW({names})::text FROM {incoming} "
        "EXCEPT SELECT ROW({names})::text FROM {table} WHERE job_id = %(job_id)s)"
    ).format(
        table=sql.Identifier(table),
        own_id=sql.Identifier(own_id),
        names=_names(others),
        incoming=incoming,
        sequence=f"{table}_{own_id}_seq",
    )
