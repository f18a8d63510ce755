"""CSV and TSV: chosen columns are translated, every other byte is copied; a file of any size is streamed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import BinaryIO

from tradu.documents.codes import has_prose, protect, reads_like_prose, restore
from tradu.documents.delimited import Dialect, Field, Record, is_sep_line, records, sniff
from tradu.documents.fields import field_units
from tradu.documents.lines import Line
from tradu.documents.model import FormatOptions, Unit
from tradu.documents.reading import Decoded, encode, open_text
from tradu.errors import DataError

SAMPLE_RECORDS = 200
PROSE_SHARE = 0.4
QUOTED = "quoted"
_CHARACTER = re.compile(r'""|[\s\S]')
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")


class DelimitedFormat:
    """Delimited text; the first record is the header and stays as it is."""

    def __init__(self, name: str, extensions: frozenset[str], delimiter: str | None) -> None:
        self.name, self.extensions, self._delimiter = name, extensions, delimiter

    def units(self, stream: BinaryIO, options: FormatOptions) -> Iterator[Unit]:
        """The cells of the chosen columns, or of those that hold prose in the first records."""
        decoded, dialect = self._opened(stream, options)
        rows = (r for r in records(decoded, dialect) if r.text.strip())
        header = next(rows, None)
        if header is not None and is_sep_line(header.text):
            header = next(rows, None)
        if header is None:
            return
        names = [_value(header.text, f) for f in dialect.fields(header.text)]
        sample: list[Record] = []
        if options.columns is None:
            sample = list(islice(rows, SAMPLE_RECORDS))
            columns = _prose_columns(sample, dialect)
        else:
            columns = sorted({_column(wanted, names) for wanted in options.columns})
        if not columns:  # read to the end all the same: the document must be whole
            for _ in rows:
                pass
            return
        for record in chain(sample, rows):
            yield from _record_units(record, columns, dialect, decoded.encoding)

    def places(self, stream: BinaryIO, options: FormatOptions) -> int:
        """Cells."""
        decoded, dialect = self._opened(stream, options)
        return sum(len(dialect.fields(record.text)) for record in records(decoded, dialect))

    def _opened(self, stream: BinaryIO, options: FormatOptions) -> tuple[Decoded, Dialect]:
        decoded = open_text(stream, options.encoding)
        head = decoded.head[decoded.bom_bytes :].decode(decoded.encoding, "replace")
        return decoded, Dialect(self._delimiter or sniff(head))

    def encode(self, text: str, unit: Unit) -> bytes:
        """The cell's text, with quotes where it needs them."""
        written = restore(text, unit.codes)
        if unit.detail == QUOTED:
            written = written.replace('"', '""')
        elif any(c in written for c in f'{unit.detail}"\r\n'):
            written = '"' + written.replace('"', '""') + '"'
        return encode(written, unit.encoding)


def _value(record: str, field: Field) -> str:
    raw = record[field.start : field.end].strip()
    return raw[1 : raw.rindex('"')].replace('""', '"') if field.quoted else raw


def _column(wanted: str, names: Sequence[str]) -> int:
    folded = [n.strip().casefold() for n in names]
    if wanted in names:
        return names.index(wanted)
    if wanted.strip().casefold() in folded:
        return folded.index(wanted.strip().casefold())
    if wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        return int(wanted) - 1
    raise DataError(f"there is no column {wanted!r}; there are: {', '.join(names)} (or 1 to {len(names)})")


def _prose_columns(sample: Sequence[Record], dialect: Dialect) -> list[int]:
    filled: dict[int, int] = {}
    prose: dict[int, int] = {}
    for record in sample:
        for number, field in enumerate(dialect.fields(record.text)):
            value = _value(record.text, field)
            if value:
                filled[number] = filled.get(number, 0) + 1
                prose[number] = prose.get(number, 0) + (" " in value and reads_like_prose(protect(value)[0]))
    return sorted(n for n, count in filled.items() if prose[n] >= PROSE_SHARE * count)


def _record_units(record: Record, columns: Sequence[int], dialect: Dialect, encoding: str) -> Iterator[Unit]:
    fields = dialect.fields(record.text)
    for column in columns:
        if column >= len(fields):
            continue
        field = fields[column]
        raw = record.text[field.start : field.end]
        if not raw.strip():
            continue
        before = field.start if record.ascii_only else len(record.text[: field.start].encode(encoding))
        if field.quoted:
            yield from _quoted_units(raw, record.start + before, encoding)
        else:
            yield from _plain_units(raw, record.start + before, encoding, dialect.delimiter)


def _plain_units(text: str, start: int, encoding: str, escaping: str) -> Iterator[Unit]:
    """The unit of a cell with one line, whose text has the given spelling."""
    spelt = text.strip()
    start += len(text[: text.index(spelt)].encode(encoding))
    coded, codes = protect(spelt.replace('""', '"') if escaping == QUOTED else spelt)
    if has_prose(coded):
        end = start + len(spelt.encode(encoding))
        yield Unit(start, end, coded, codes, encoding=encoding, detail=escaping)


def _quoted_units(raw: str, start: int, encoding: str) -> Iterator[Unit]:
    opening, closing = raw.index('"') + 1, raw.rindex('"')
    if raw[closing + 1 :].strip() or raw[opening:closing].replace('""', "").count('"'):
        return  # text after the closing quote: not a cell that can be written back
    start += len(raw[:opening].encode(encoding))
    inner = raw[opening:closing]
    if "\n" not in inner and "\r" not in inner:
        if inner.strip():
            yield from _plain_units(inner, start, encoding, QUOTED)
        return
    lines = []
    for match in _LINE.finditer(inner):
        spelt = match[0].rstrip("\r\n")
        text = spelt.replace('""', '"')
        spelling = _CHARACTER.findall(spelt) if len(text) != len(spelt) else None
        lines.append(Line(text, start, encoding, spelling))
        start += len(match[0].encode(encoding))
    yield from field_units(lines, QUOTED)


FORMATS = (
    DelimitedFormat("csv", frozenset({".csv"}), None),
    DelimitedFormat("tsv", frozenset({".tsv", ".tab"}), "\t"),
)
