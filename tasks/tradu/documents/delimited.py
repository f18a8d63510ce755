"""Reads delimited text record by record: the dialect, and where each field stands in its record."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tradu.documents.reading import Decoded
from tradu.errors import DataError

DELIMITERS = ",;\t|"
MAX_RECORD_CHARS = 4 * 1024 * 1024
_SEP_LINE = re.compile(r"sep=(.)\s*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a record, as characters of it; quotes are inside the span."""

    start: int
    end: int
    quoted: bool


@dataclass(frozen=True, slots=True)
class Record:
    """A record with its line ending; `start` is a byte offset."""

    text: str
    start: int
    line: int
    """Number of its first line, from 1."""
    ascii_only: bool


class Dialect:
    """How fields are parted."""

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter
        d = re.escape(delimiter)
        # possessive groups would say it shorter, but match wrongly before Python 3.11.5 (python/cpython#106052)
        inside = '[^"]*(?:""[^"]*)*'
        self._field = re.compile(rf'[ ]*"(?P<quoted>{inside})"(?!")(?P<rest>[^{d}\r\n]*)|(?P<plain>[^{d}\r\n]*)')
        closed = rf'(?:[ ]*"{inside}"(?!")[^{d}\r\n]*|(?![ ]*")[^{d}\r\n]*){d}'
        self._open = re.compile(rf'(?:{closed})*[ ]*"{inside}\Z')

    def fields(self, record: str) -> list[Field]:
        """The fields of a record."""
        found, at, end = [], 0, len(record.rstrip("\r\n")) if record[-1:] in "\r\n" else len(record)
        if '"' not in record:
            for part in record[:end].split(self.delimiter):
                found.append(Field(at, at + len(part), False))
                at += len(part) + 1
            return found
        while True:
            match = self._field.match(record, at, end)
            quoted = match is not None and match["quoted"] is not None
            stop = match.end() if match else end
            found.append(Field(at, stop, quoted))
            if stop >= end:
                return found
            at = stop + 1

    def is_open(self, record: str) -> bool:
        """Whether a quoted field goes on in the next line."""
        return '"' in record and self._open.match(record) is not None


def records(decoded: Decoded, dialect: Dialect) -> Iterator[Record]:
    """The records, streamed; a quoted field may run over several lines.

    Raises:
        DataError: a quote is never closed.
    """
    open_lines: list[str] = []
    start, first, quotes, size, ascii_only = 0, 0, 0, 0, True
    for number, piece in enumerate(decoded.lines(), 1):
        if not open_lines:
            if '"' not in piece.text:
                yield Record(piece.text, piece.start, number, piece.ascii_only)
                continue
            start, first, quotes, size, ascii_only = piece.start, number, 0, 0, True
        open_lines.append(piece.text)
        quotes += piece.text.count('"')
        size += len(piece.text)
        ascii_only = ascii_only and piece.ascii_only
        if size > MAX_RECORD_CHARS:
            raise DataError(f'line {first}: a quote (") that is opened there is not closed within 4 million characters')
        # with an even number of quotes every one of them may be closed; only then is a closer look worth it
        if quotes % 2 and _opens(open_lines, dialect):
            continue
        text = "".join(open_lines)
        if quotes % 2 == 0 and dialect.is_open(text):
            continue
        yield Record(text, start, first, ascii_only)
        open_lines = []
    if open_lines:
        raise DataError(f'line {first}: a quote (") that is opened there is never closed')


def _opens(lines: Sequence[str], dialect: Dialect) -> bool:
    """With an odd number of quotes: is a field open, or is it an inch mark inside an unquoted field?"""
    return len(lines) > 1 or dialect.is_open(lines[0])


def sniff(head: str) -> str:
    """The delimiter of a document, from its first lines: the one that parts them into equally many fields, and most."""
    first = head.lstrip("\r\n").split("\n", 1)[0]
    if match := _SEP_LINE.match(first.rstrip("\r\n")):
        return match[1]
    best, best_score = ",", (0.0, 0)
    for delimiter in DELIMITERS:
        dialect = Dialect(delimiter)
        counts = [len(dialect.fields(record)) for record in _sample(head, dialect)]
        if not counts or counts[0] < 2:
            continue
        score = (sum(c == counts[0] for c in counts) / len(counts), counts[0])
        if score > best_score:
            best, best_score = delimiter, score
    return best


def is_sep_line(record: str) -> bool:
    """Whether the first record is Excel's `sep=;` and no header."""
    return _SEP_LINE.match(record.rstrip("\r\n")) is not None


def _sample(head: str, dialect: Dialect, limit: int = 30) -> Iterator[str]:
    kept, pending = 0, ""
    for line in head.splitlines(keepends=True):
        pending += line
        if dialect.is_open(pending):
            continue
        if pending.strip():
            yield pending
            kept += 1
        pending = ""
        if kept == limit:
            return
