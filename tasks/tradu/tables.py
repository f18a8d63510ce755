"""Parquet objects of the store: every page carries a checksum, which is checked at every read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tradu.errors import DamagedError
from tradu.store import Store, StoredObject, Writing


def writer(stream: Writing, schema: pa.Schema) -> pq.ParquetWriter:
    """Writes a table in pieces, one row group for each."""
    return pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True)


def write(store: Store, key: str, table: pa.Table) -> StoredObject:
    """Write a whole table as one object."""
    with store.writing(key) as stream:
        pq.write_table(table, stream, compression="zstd", write_page_checksum=True)
    return stream.stored


def read(store: Store, key: str, *, columns: Sequence[str] | None = None, without: Sequence[str] = ()) -> pa.Table:
    """Read a table, or some of its columns, or all but some.

    Raises:
        DamagedError: the object is not as it was written.
        FileNotFoundError: there is none.
    """
    with _opened(store, key) as file:
        names = columns if columns is not None else [n for n in file.schema_arrow.names if n not in without]
        return file.read(columns=list(names))


def read_group(store: Store, key: str, group: int, *, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one row group of a table.

    Raises:
        DamagedError: the object is not as it was written.
        FileNotFoundError: there is none.
    """
    with _opened(store, key) as file:
        return file.read_row_group(group, columns=list(columns) if columns is not None else None)


def read_groups(store: Store, key: str) -> Iterator[pa.Table]:
    """Every row group of a table in order, one at a time in memory.

    Raises:
        DamagedError: the object is not as it was written.
        FileNotFoundError: there is none.
    """
    with _opened(store, key) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)


def read_rows(store: Store, key: str, equal: Mapping[str, str | int], *, columns: Sequence[str]) -> pa.Table:
    """Read the rows in which these columns have these values. Row groups whose statistics rule them out aren't read.

    Raises:
        DamagedError: the object is not as it was written.
        FileNotFoundError: there is none.
    """
    with _opened(store, key) as file:
        groups = groups_with(file.metadata, equal)
        table = file.read_row_groups(groups, columns=[*columns, *(name for name in equal if name not in columns)])
        wanted = [pc.equal(table.column(name), value) for name, value in equal.items()]
        return table.filter(reduce(pc.and_, wanted)).select(list(columns))


def groups_with(metadata: pq.FileMetaData, equal: Mapping[str, str | int]) -> list[int]:
    """The row groups that may have a row with these values: those whose statistics don't say otherwise."""
    places = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    return [
        group
        for group in range(metadata.num_row_groups)
        if all(_may_have(metadata.row_group(group).column(places[name]), value) for name, value in equal.items())
    ]


def _may_have(column: pq.ColumnChunkMetaData, value: str | int) -> bool:
    found = column.statistics
    return found is None or not found.has_min_max or bool(found.min <= value <= found.max)


@contextmanager
def _opened(store: Store, key: str) -> Iterator[pq.ParquetFile]:
    with store.reading(key, ahead_bytes=0) as stream:
        try:
            # on S3 the columns of a row group are fetched together, and nothing else
            yield pq.ParquetFile(stream, page_checksum_verification=True, pre_buffer=not store.is_local)
        except (pa.ArrowException, OSError) as error:
            # an error of the store has a number; one of the format, or of a checksum, has none
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DamagedError(f"{key} is damaged: {str(error).partition(chr(10))[0]}") from error
