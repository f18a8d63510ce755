"""Plain text and reStructuredText: paragraphs, list items and headings; code, tables and layout stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from tradu.documents.codes import has_prose, protect, restore
from tradu.documents.lines import Line
from tradu.documents.model import FormatOptions, Unit
from tradu.documents.paragraphs import ProseFinder, Run
from tradu.documents.reading import encode, open_text
from tradu.documents.wrapping import Wrap, wrap

MAX_BLOCK_LINES = 400


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines without a blank one between them."""

    lines: list[Line]
    newline: str


class TextFormat:
    """Text whose paragraphs are parted by blank lines, wrapped or not."""

    name = "text"
    extensions = frozenset({".txt", ".text", ".rst"})

    def units(self, stream: BinaryIO, options: FormatOptions) -> Iterator[Unit]:
        """Paragraphs, list items, headings and cells, in order."""
        finder = ProseFinder(tabular=True)
        for block in _blocks(stream, options):
            for run in finder.runs([line.text for line in block.lines]):
                unit = _unit(run, block)
                if unit:
                    yield unit

    def places(self, stream: BinaryIO, options: FormatOptions) -> int:  # noqa: ARG002
        """None: nothing but its look tells a paragraph from a list."""
        return 0

    def encode(self, text: str, unit: Unit) -> bytes:
        """The paragraph, wrapped to its original width where it was wrapped."""
        written = restore(text, unit.codes)
        return encode(wrap(written, unit.detail) if isinstance(unit.detail, Wrap) else written, unit.encoding)


def _blocks(stream: BinaryIO, options: FormatOptions) -> Iterator[_Block]:
    decoded = open_text(stream, options.encoding)
    lines: list[Line] = []
    newline = "\n"
    for piece in decoded.lines():
        text = piece.text.rstrip("\r\n")
        if not text.strip():
            if lines:
                yield _Block(lines, newline)
            lines = []
            continue
        newline = piece.text[len(text) :] or newline
        lines.append(Line(text, piece.start, decoded.encoding))
        if len(lines) == MAX_BLOCK_LINES:  # a log or a list without blank lines: don't hold all of it
            yield _Block(lines, newline)
            lines = []
    if lines:
        yield _Block(lines, newline)


def _unit(run: Run, block: _Block) -> Unit | None:
    text, codes = protect(run.text)
    if not has_prose(text):
        return None
    first, last = block.lines[run.first], block.lines[run.last]
    start, end = first.byte_at(run.first_column), last.byte_at(run.last_column)
    return Unit(start, end, text, codes, encoding=first.encoding, detail=run.layout(block.newline))


FORMAT = TextFormat()
