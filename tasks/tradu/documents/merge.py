"""Puts translations in the place of their units; every other byte of the document is copied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

from tradu.documents import codes
from tradu.documents.model import SLOT, DocumentFormat, FormatOptions, Unit
from tradu.documents.reading import CHUNK_BYTES
from tradu.errors import DataError


@dataclass(frozen=True, slots=True)
class MergeCounts:
    """What a merge saw and did."""

    units: int
    replaced: int


class _Tap:
    """Lets the format read the document, and keeps the bytes that are not copied yet."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._kept, self._start = raw, bytearray(), 0

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(size)
        self._kept += data
        return data

    @property
    def end(self) -> int:
        """Offset one past the last byte that was read."""
        return self._start + len(self._kept)

    def copy(self, start: int, end: int) -> bytes:
        """The bytes of a range that was read and not dropped."""
        return bytes(self._kept[start - self._start : end - self._start])

    def drop(self, end: int) -> None:
        del self._kept[: end - self._start]
        self._start = end


class _Writer:
    """Writes the document up to each unit, then the unit; units inside another wait for it."""

    def __init__(self, document_format: DocumentFormat, tap: _Tap, out: BinaryIO) -> None:
        self.format, self.tap, self.out = document_format, tap, out
        self.position = self.replaced = 0
        self.inner: list[tuple[Unit, bytes | None]] = []

    def add(self, number: int, unit: Unit, text: str | None) -> None:
        """Take the next unit; a text that is None or unchanged keeps its bytes."""
        new = None
        if text is not None and text != unit.text:
            if problem := codes.difference(unit.text, text, unit.codes):
                raise DataError(f"unit {number} (at byte {unit.start}): {problem}")
            filled = unit if unit.inside else replace(unit, codes=self._filled(unit))
            new = self.format.encode(text, filled)
            self.replaced += 1
        if unit.inside:
            self.inner.append((unit, new))
            return
        for part, data in [(unit, new)] if new is not None else self.inner:
            if data is not None:
                self._splice(part, data)
        self.inner.clear()
        self.copy_to(unit.end)

    def _filled(self, unit: Unit) -> tuple[str, ...]:
        """The unit's codes with the texts of the units inside it."""
        fillings = iter(
            (self.tap.copy(u.start, u.end) if new is None else new).decode(u.encoding) for u, new in self.inner
        )
        return tuple("".join(next(fillings) if c == SLOT else c for c in code) for code in unit.codes)

    def _splice(self, unit: Unit, data: bytes) -> None:
        self.copy_to(unit.start)
        self.out.write(data)
        self.position = unit.end

    def copy_to(self, end: int) -> None:
        """Copy what is not written yet, up to a byte offset."""
        if end > self.position:
            self.out.write(self.tap.copy(self.position, end))
            self.position = end
        self.tap.drop(self.position)


def merge(
    document_format: DocumentFormat,
    raw: BinaryIO,
    translations: Iterable[tuple[int, str | None]],
    out: BinaryIO,
    options: FormatOptions,
) -> MergeCounts:
    """Write the document with translations in the place of its units, holding no more than a part of it.

    `translations` are pairs of a unit's number (from 0, ascending) and its new text; None, an unchanged text, and a
    number that is left out keep the unit's bytes.

    Raises:
        DataError: a text has other codes than its unit or can't be written in the document's encoding, a number is
            out of order or beyond the last unit, or the document is malformed.
    """
    tap = _Tap(raw)
    writer = _Writer(document_format, tap, out)
    pending = iter(translations)
    wanted, count = next(pending, None), 0
    for unit in document_format.units(cast("BinaryIO", tap), options):
        text = None
        if wanted is not None and wanted[0] == count:
            text, wanted = wanted[1], next(pending, None)
        if wanted is not None and wanted[0] <= count:
            raise DataError(f"a translation for unit {wanted[0]} came after unit {count}: they must be in order")
        writer.add(count, unit, text)
        count += 1
    if wanted is not None:
        raise DataError(f"a translation for unit {wanted[0]}, but the document has {count} units")
    writer.copy_to(tap.end)
    while tap.read(CHUNK_BYTES):
        writer.copy_to(tap.end)
    return MergeCounts(count, writer.replaced)
