"""Packs: many objects of a job in few Parquet files, each byte as it was.

Most objects of a job are small, and a cold tier charges for each: packed, they share compression and requests. A pack
holds bytes and not the rows of results: what comes back is what was there, whatever version of a library reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import BinaryIO
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from tradu import layout, tables
from tradu.errors import DamagedError
from tradu.store import Store, StoredObject, Writing

PACK = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("piece", pa.int32(), nullable=False),
        pa.field("bytes", pa.binary(), nullable=False),
    ]
)
"""One row per piece of a member; pieces of one member follow one another, and never cross files."""
PIECE_BYTES = 1 << 20
GROUP_BYTES = 16 << 20
GROUP_ROWS = 16_384
"""A row group: what writer and reader hold in memory. Of tiny objects it is their number that counts."""
FILE_BYTES = 256 << 20
ZSTD_LEVEL = 9

Source = tuple[str, AbstractContextManager[BinaryIO]]
"""Key and stream of what goes into a pack."""


@dataclass(frozen=True, slots=True)
class Packed:
    """What was written: the files, and what is in them."""

    files: list[StoredObject]
    members: list[StoredObject]


class _Writer:
    """Writes members one after the other into as many files as they need."""

    def __init__(self, store: Store, job_id: UUID) -> None:
        self.store, self.job_id = store, job_id
        self.files: list[StoredObject] = []
        self._stack = ExitStack()
        self._stream: Writing | None = None
        self._parquet: pq.ParquetWriter | None = None
        self._rows: list[tuple[str, int, bytes]] = []
        self._held = self._written = 0

    def add(self, key: str, stream: BinaryIO) -> StoredObject:
        """One member, read to its end."""
        digest, size, number = hashlib.sha256(), 0, 0
        while (piece := stream.read(PIECE_BYTES)) or number == 0:
            digest.update(piece)
            size += len(piece)
            self._rows.append((key, number, piece))
            self._held += len(piece)
            number += 1
            if self._held >= GROUP_BYTES or len(self._rows) >= GROUP_ROWS:
                self._flush()
        if self._written + self._held >= FILE_BYTES:
            self.end_file()
        return StoredObject(key, digest.hexdigest(), size)

    def _flush(self) -> None:
        if self._parquet is None:
            self._stream = self._stack.enter_context(self.store.writing(layout.pack_key(self.job_id, len(self.files))))
            self._parquet = self._stack.enter_context(
                pq.ParquetWriter(
                    self._stream,
                    PACK,
                    compression="zstd",
                    compression_level=ZSTD_LEVEL,
                    use_dictionary=["key"],
                    write_statistics=["key"],
                    write_page_checksum=True,
                )
            )
        columns = [list(column) for column in zip(*self._rows, strict=True)]
        self._parquet.write_table(pa.table(columns, schema=PACK))
        self._written += self._held
        self._rows, self._held = [], 0

    def end_file(self) -> None:
        """The open file appears in the store."""
        if self._rows:
            self._flush()
        if self._parquet is None or self._stream is None:
            return
        self._stack.close()
        self.files.append(self._stream.stored)
        self._stream, self._parquet, self._written = None, None, 0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self.end_file()
        else:  # the open file never appears
            self._stack.__exit__(*error)  # type: ignore[arg-type]


def write(store: Store, job_id: UUID, sources: Iterable[Source]) -> Packed:
    """Write members into the packs of a job, streaming; packs of an earlier attempt are replaced."""
    with _Writer(store, job_id) as writer:
        members = []
        for key, opened in sources:
            with opened as stream:
                members.append(writer.add(key, stream))
    return Packed(writer.files, members)


def read(store: Store, files: Iterable[str]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Key and pieces of every member, in order; a member's pieces are to be used before the next member is asked for.

    Raises:
        DamagedError: a file is not as it was written.
        FileNotFoundError: there is none.
    """
    for key, pieces in groupby((row for file in files for row in _rows(store, file)), key=lambda row: row[0]):
        yield key, (piece for _, piece in pieces)


def _rows(store: Store, file: str) -> Iterator[tuple[str, bytes]]:
    for group in tables.read_groups(store, file):
        if group.schema != PACK:
            raise DamagedError(f"{file} is damaged, or no pack")
        yield from zip(group.column("key").to_pylist(), group.column("bytes").to_pylist(), strict=True)
