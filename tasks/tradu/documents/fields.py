"""Units of a string value (a cell, a JSON field) that may hold several lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tradu.documents.codes import has_prose, protect
from tradu.documents.lines import Line
from tradu.documents.model import Unit
from tradu.documents.paragraphs import ProseFinder
from tradu.documents.wrapping import Wrap


@dataclass(frozen=True, slots=True)
class FieldDetail:
    """How a field's unit is written: its line layout, and what the format adds."""

    layout: Wrap | None
    escaping: str = ""


def field_units(lines: Sequence[Line], newline: str, escaping: str = "") -> Iterator[Unit]:
    """The prose of a value's lines, paragraph by paragraph."""
    finder = ProseFinder()
    block: list[Line] = []
    for line in [*lines, None]:
        if line is not None and line.text.strip():
            block.append(line)
            continue
        for run in finder.runs([line.text for line in block]):
            text, codes = protect(run.text)
            if has_prose(text) and not _has_surrogates(run.text):
                first, last = block[run.first], block[run.last]
                start, end = first.byte_at(run.first_column), last.byte_at(run.last_column)
                detail = FieldDetail(run.layout(newline), escaping)
                yield Unit(start, end, text, codes, encoding=first.encoding, detail=detail)
        block = []


def _has_surrogates(text: str) -> bool:
    """Half a surrogate pair can be written in JSON, but no engine or file takes it."""
    return not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)
