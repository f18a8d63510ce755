"""Units of a string value (a cell, a JSON field) that may hold several lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from tradu.documents.codes import has_prose, protect
from tradu.documents.lines import Line
from tradu.documents.model import Unit
from tradu.documents.paragraphs import ProseFinder

WRAPPED_CHARS = range(40, 100)
"""Length of the lines of a wrapped paragraph, but for the last one."""
_STARTS_PROSE = re.compile(r"[^\W\d_]")


def field_units(lines: Sequence[Line], escaping: str = "") -> Iterator[Unit]:
    """The prose of a value's lines; `escaping` is what the format writes it back by.

    A paragraph that was wrapped is one unit and comes back as one line: how wide a field may be, nothing says.
    Otherwise each line is for itself, so that what a unit is does not depend on the lines around it.
    """
    finder = ProseFinder()
    for blank, group in groupby(lines, key=lambda line: not line.text.strip()):
        block = list(group)
        if blank:
            continue
        if _is_wrapped(block):
            text = " ".join(line.text.strip() for line in block)
            yield from _unit(block[0], 0, block[-1], len(block[-1].text.rstrip()), text, escaping)
            continue
        for line in block:
            for run in finder.runs([line.text]):
                yield from _unit(line, run.first_column, line, run.last_column, run.text, escaping)


def _is_wrapped(block: Sequence[Line]) -> bool:
    """Whether lines read on into one another: all but the last about as long, none indented or a list's."""
    return (
        len(block) > 1
        and all(len(line.text.rstrip()) in WRAPPED_CHARS for line in block[:-1])
        and all(_STARTS_PROSE.match(line.text) for line in block)
    )


def _unit(first: Line, start: int, last: Line, end: int, prose: str, escaping: str) -> Iterator[Unit]:
    text, codes = protect(prose)
    if has_prose(text) and not _has_surrogates(prose):
        places = first.byte_at(start), last.byte_at(end)
        yield Unit(*places, text, codes, encoding=first.encoding, detail=escaping)


def _has_surrogates(text: str) -> bool:
    """Half a surrogate pair can be written in JSON, but no engine or file takes it."""
    return not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)
