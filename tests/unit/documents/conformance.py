"""The suite that every document format must pass, and the helpers that tests of single formats use too."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field

from tradu.documents.codes import code_indices, has_prose, restore
from tradu.documents.merge import MergeCounts, merge
from tradu.documents.model import SLOT, DocumentFormat, FormatOptions, Unit
from tradu.errors import DataError

NO_OPTIONS = FormatOptions()
_ACCENTS = str.maketrans("aeioucnAEIOUCN", "áéíóúçñÁÉÍÓÚÇÑ")


@dataclass(frozen=True)
class Case:
    """A document of a format, with what is asked of it."""

    name: str
    format: DocumentFormat
    data: bytes
    options: FormatOptions = field(default_factory=FormatOptions)


class SlowStream(io.RawIOBase):
    """A stream that can be read only once, forwards, a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._inner, self._step = io.BytesIO(data), step

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(min(size, self._step) if size >= 0 else self._step)


def extract(case: Case) -> list[Unit]:
    return list(case.format.units(io.BytesIO(case.data), case.options))


def merged(case: Case, texts: list[str | None]) -> tuple[bytes, MergeCounts]:
    out = io.BytesIO()
    counts = merge(case.format, io.BytesIO(case.data), enumerate(texts), out, case.options)
    return out.getvalue(), counts


def pseudo(text: str) -> str:
    """A translation that keeps length, case and codes, and changes most words."""
    return text.translate(_ACCENTS)


def check_units(case: Case) -> None:
    """Offsets lie in the document, in order; codes are numbered as they appear; every unit has prose."""
    end = 0
    inner: list[Unit] = []
    for unit in extract(case):
        assert 0 <= unit.start < unit.end <= len(case.data)
        assert code_indices(unit.text) == list(range(len(unit.codes)))
        assert has_prose(unit.text)
        if unit.inside:
            inner.append(unit)
            continue
        assert unit.start >= end, f"{unit} overlaps the one before"
        assert sum(code.count(SLOT) for code in unit.codes) == len(inner)
        for part in inner:
            assert unit.start <= part.start < part.end <= unit.end
        inner, end = [], unit.end
    assert not inner


def check_identity(case: Case) -> None:
    """Merging nothing, and merging every text unchanged, both give the identical bytes."""
    units = extract(case)
    assert merged(case, [u.text for u in units]) == (case.data, MergeCounts(len(units), 0))
    assert merged(case, [None] * len(units))[0] == case.data


def check_pseudo(case: Case) -> None:
    """Extract, pseudo-translate, merge, extract: the same units, with the new texts and the same codes."""
    units = extract(case)
    wanted = [pseudo(u.text) for u in units]
    data, counts = merged(case, list(wanted))
    assert counts.replaced == sum(w != u.text for w, u in zip(wanted, units, strict=True))
    again = extract(Case(case.name, case.format, data, case.options))
    assert [u.text for u in again] == wanted
    assert [u.codes for u in again] == [u.codes for u in units]


def check_rewriting(case: Case) -> None:
    """Writing every unit anew with its own text is read back as the same text: escaping and its reverse agree."""
    units = [u for u in extract(case) if not u.inside and not any(SLOT in c for c in u.codes)]
    for unit in units:
        data = case.data[: unit.start] + case.format.encode(unit.text, unit) + case.data[unit.end :]
        again = extract(Case(case.name, case.format, data, case.options))
        assert unit.text in [u.text for u in again]


def check_small_reads(case: Case, step: int = 7) -> None:
    """However little a read gives, the units are the same."""
    slow = case.format.units(SlowStream(case.data, step), case.options)  # type: ignore[arg-type]
    assert list(slow) == extract(case)


def check_survives(document_format: DocumentFormat, data: bytes, options: FormatOptions = NO_OPTIONS) -> None:
    """Whatever the bytes are: a DataError, or units that lead to the identical bytes; never another exception."""
    case = Case("garbage", document_format, data, options)
    try:
        units = extract(case)
    except DataError as error:
        assert str(error)  # noqa: PT017 - either outcome is right
        return
    assert merged(case, [u.text for u in units])[0] == data
    for unit in units:
        restore(unit.text, unit.codes)


class GeneratedStream(io.RawIOBase):
    """A document far larger than what a format may hold, made while it is read."""

    def __init__(self, head: bytes, part: bytes, size: int) -> None:
        self._parts = self._make(head, part, size)
        self._rest = b""

    @staticmethod
    def _make(head: bytes, part: bytes, size: int) -> Iterator[bytes]:
        yield head
        for _ in range(size // len(part)):
            yield part

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size and (part := next(self._parts, None)):
            self._rest += part
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def peak_bytes(document_format: DocumentFormat, stream: io.RawIOBase, options: FormatOptions) -> tuple[int, int]:
    """Number of units of a stream, and the most memory that reading them took."""
    tracemalloc.start()
    try:
        count = sum(1 for _ in document_format.units(stream, options))  # type: ignore[arg-type]
        return count, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
