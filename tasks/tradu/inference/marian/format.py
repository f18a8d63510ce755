"""Reading a model in Marian's binary format, checked throughout: a truncated or foreign file is a clear error."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tradu.errors import ModelError

FLOAT32, INT8, INTGEMM8 = 0x404, 0x101, 0x4101
"""The types of items: floats, bytes (the description of the network), weights with their multiplier."""
DESCRIPTION = "special:model.yml"
_VERSION = 1
_MOST_ITEMS = 10_000
_MOST_NAME_BYTES = 1_000
_MOST_DIMENSIONS = 8
_LEAST_MULTIPLIER, _LARGEST_MULTIPLIER = 1e-6, 1e6


@dataclass(frozen=True, slots=True)
class Item:
    """One named tensor: its declared shape, and where its bytes lie in the file."""

    name: str
    kind: int
    shape: tuple[int, ...]
    start: int
    size: int

    @property
    def elements(self) -> int:
        """Numbers in the tensor."""
        return int(np.prod(self.shape, dtype=np.int64))


class File:
    """A model file, mapped into memory: what is read from it is shared by all processes that have it open."""

    def __init__(self, path: Path) -> None:
        """Map the file and read its table of items.

        Raises:
            ModelError: it is not a whole model in Marian's binary format.
            OSError: it can't be read.
        """
        self.path = path
        with path.open("rb") as stream:
            if path.stat().st_size == 0:
                raise ModelError(f"{path}: the file is empty")
            self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self._bytes = np.frombuffer(self._map, dtype=np.uint8)
        self.items: Mapping[str, Item] = {item.name: item for item in self._read_items()}

    def floats(self, name: str, count: int) -> NDArray[np.float32]:
        """A copy of a float tensor of `count` finite numbers.

        Raises:
            ModelError: there is none of that name, type and size, or it holds infinities.
        """
        item = self._item(name, FLOAT32, count)
        values = self._bytes[item.start : item.start + 4 * count].view("<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise self.error(f"{name} holds numbers that are not finite")
        return values

    def weights(self, name: str, shape: Sequence[int]) -> tuple[NDArray[np.int8], float]:
        """Int8 weights where they lie in the mapped file, flat, and the multiplier they were made with.

        Raises:
            ModelError: there are none of that name and shape, or no 8-bit weights could be these.
        """
        item = self._item(name, INTGEMM8, int(np.prod(shape, dtype=np.int64)))
        if item.shape != tuple(shape):
            raise self.error(f"{name} has the shape {item.shape}, not {tuple(shape)}")
        end = item.start + item.elements
        values = self._bytes[item.start : end].view(np.int8)
        multiplier = float(self._bytes[end : end + 4].copy().view("<f4")[0])
        self.check_multiplier(name, multiplier)
        if values.min(initial=0) == -128:  # Marian's quantiser never makes it, and no kernel expects it
            raise self.error(f"{name} holds the value -128")
        return values, multiplier

    def check_multiplier(self, name: str, value: float) -> None:
        """Refuse a multiplier that no quantiser makes.

        Raises:
            ModelError: it is not a positive number of a usual size.
        """
        if not _LEAST_MULTIPLIER <= value <= _LARGEST_MULTIPLIER:
            raise self.error(f"{name} has the multiplier {value}")

    def text(self, name: str) -> str:
        """A tensor of bytes that is text.

        Raises:
            ModelError: there is none of that name, or it is no text.
        """
        item = self._find(name)
        if item.kind != INT8:
            raise self.error(f"{name} has the type {item.kind:#x}, not {INT8:#x}")
        try:
            return bytes(self._bytes[item.start : item.start + item.size]).rstrip(b"\0").decode()
        except UnicodeDecodeError as error:
            raise self.error(f"{name} is not text") from error

    def error(self, what: str) -> ModelError:
        """An error about this file."""
        return ModelError(f"{self.path}: {what}; the file is damaged, or not one of Mozilla's 8-bit models")

    def _find(self, name: str) -> Item:
        if name not in self.items:
            raise self.error(f"there is no {name}")
        return self.items[name]

    def _item(self, name: str, kind: int, count: int) -> Item:
        item = self._find(name)
        if item.kind != kind:
            raise self.error(f"{name} has the type {item.kind:#x}, not {kind:#x}")
        if item.elements != count:
            raise self.error(f"{name} has {item.elements} numbers, not {count}")
        needed = 4 * count if kind == FLOAT32 else count + 4
        if item.size < needed:
            raise self.error(f"{name} has {item.size} bytes, not {needed}")
        return item

    def _read_items(self) -> list[Item]:
        reader = _Reader(self)
        version, count = (int(v) for v in reader.numbers(2, "<u8"))
        if version != _VERSION:
            raise self.error(f"it begins with {version}, not with format version {_VERSION}")
        if not 0 < count <= _MOST_ITEMS:
            raise self.error(f"it claims to have {count} items")
        heads = [[int(v) for v in reader.numbers(4, "<u8")] for _ in range(count)]
        names = [reader.name(head[0]) for head in heads]
        shapes = [reader.shape(head[2]) for head in heads]
        (padding,) = (int(v) for v in reader.numbers(1, "<u8"))
        reader.take(padding)
        items = []
        for (_, kind, _, size), name, shape in zip(heads, names, shapes, strict=True):
            items.append(Item(name, kind, shape, reader.at, size))
            reader.take(size)
        if len({item.name for item in items}) != count:
            raise self.error("two items have the same name")
        return items

    def _slice(self, start: int, size: int) -> NDArray[np.uint8]:
        if size < 0 or start + size > self._bytes.size:
            raise self.error(f"it ends at byte {self._bytes.size}, within what byte {start} begins ({size} bytes)")
        return self._bytes[start : start + size]


class _Reader:
    """Reads a file from its beginning, never beyond its end."""

    def __init__(self, file: File) -> None:
        self._file = file
        self.at = 0

    def take(self, size: int) -> NDArray[np.uint8]:
        """The next bytes."""
        piece = self._file._slice(self.at, size)
        self.at += size
        return piece

    def numbers(self, count: int, kind: str) -> NDArray[np.generic]:
        """The next numbers of a type."""
        return self.take(count * np.dtype(kind).itemsize).copy().view(kind)

    def name(self, size: int) -> str:
        """The next name, which ends in a zero byte."""
        if size > _MOST_NAME_BYTES:
            raise self._file.error(f"a name of {size} bytes")
        try:
            return bytes(self.take(size)).split(b"\0", 1)[0].decode()
        except UnicodeDecodeError as error:
            raise self._file.error("a name that is not text") from error

    def shape(self, rank: int) -> tuple[int, ...]:
        """The next shape."""
        if rank > _MOST_DIMENSIONS:
            raise self._file.error(f"a tensor of {rank} dimensions")
        shape = tuple(int(n) for n in self.numbers(rank, "<i4"))
        if any(n < 1 for n in shape):
            raise self._file.error(f"the shape {shape}")
        return shape
