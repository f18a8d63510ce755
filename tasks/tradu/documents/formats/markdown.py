"""Markdown: headings, paragraphs, list items, table cells and footnotes; markdown-it says where they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tradu.documents.codes import has_prose, protect, restore
from tradu.documents.lines import Line
from tradu.documents.markdown_inline import escape, escape_start, label_of, parts
from tradu.documents.model import MAX_CODES, FormatOptions, Unit
from tradu.documents.reading import Decoded, encode, open_text
from tradu.documents.wrapping import Wrap, wrap
from tradu.errors import DataError

CHUNK_CHARS = 512 * 1024
MAX_BLOCK_CHARS = 16 * 1024 * 1024
_DEFINITION = re.compile(r"[ \t>]*\[(?!\^)((?:[^\[\]\\]|\\.)+)\]:(?:\s*\S+|\s*\Z)")
_TITLE = re.compile(r"\s*(?:\"[^\"]*\"|'[^']*'|\([^()]*\))\s*\Z")
_NOTE = re.compile(r"(?:\[\^[^\]\s]+\]:|\*\[[^\]]+\]:)[ \t]*|\[[ xX]\][ \t]+|\[![A-Z]+\][ \t]*(?=\n|\Z)|:[ \t]+")
_CELL = re.compile(r"[^|\\]*(?:\\.[^|\\]*)*")
_HEADING = re.compile(r".*?(?:^|[\s>])#{1,6}[ \t]+")


@dataclass(frozen=True, slots=True)
class _Detail:
    layout: Wrap | None
    block: bool
    """Whether the unit stands at the beginning of a paragraph."""


class MarkdownFormat:
    """CommonMark with tables, front matter, footnotes and task lists."""

    name = "markdown"
    extensions = frozenset({".md", ".markdown", ".mdown", ".mkd"})

    def __init__(self) -> None:
        # inline markup is read by markdown_inline: markdown-it doesn't say where it stands
        self._parser = MarkdownIt("commonmark").enable("table").disable(["reference", "inline"])

    def units(self, stream: BinaryIO, options: FormatOptions) -> Iterator[Unit]:
        """Headings, paragraphs, items, cells and footnotes, in order."""
        decoded = open_text(stream, options.encoding)
        for lines, newline, final in _batches(decoded):
            yield from self._batch(lines, newline, final)

    def places(self, stream: BinaryIO, options: FormatOptions) -> int:
        """Paragraphs, headings, cells and attributes with text."""
        return sum(1 for _ in self.units(stream, options))

    def encode(self, text: str, unit: Unit) -> bytes:
        """The text with its markup, wrapped to its original width where it was wrapped."""
        written = restore(text, unit.codes, escape)
        if isinstance(unit.detail, _Detail):
            if unit.detail.block:
                written = escape_start(written)
            if unit.detail.layout:
                written = wrap(written, unit.detail.layout)
        return encode(written, unit.encoding)

    def _batch(self, lines: list[Line], newline: str, final: bool) -> Iterator[Unit]:
        """Units of whole blocks; the last block is left in `lines` while more may belong to it."""
        tokens = self._parser.parse("\n".join(line.text for line in lines).replace("\0", " "))
        stop = len(lines)
        if not final:
            tops = [t.map[0] for t in tokens if t.level == 0 and t.map and t.nesting >= 0]
            stop = tops[-1] if tops else 0
        labels = {label_of(m[1]) for line in lines if (m := _DEFINITION.match(line.text))}
        for before, token in zip([None, *tokens], tokens, strict=False):
            if token.type == "tr_open" and token.map and token.map[0] < stop:
                yield from _row_units(lines[token.map[0]], labels)
            elif before and before.type in ("paragraph_open", "heading_open") and token.map and token.map[0] < stop:
                yield from _inline_units(token, before, lines, newline, labels)
        del lines[:stop]


def _batches(decoded: Decoded) -> Iterator[tuple[list[Line], str, bool]]:
    """Lines to parse together; whoever takes them removes what it is done with."""
    lines: list[Line] = []
    size, limit, newline = 0, CHUNK_CHARS, "\n"
    for line, ending in _after_front_matter(decoded):
        lines.append(line)
        newline = ending or newline
        size += len(line.text) + 1
        if size > limit:
            count = len(lines)
            yield lines, newline, False
            size = sum(len(kept.text) + 1 for kept in lines)
            # a block that fills the batch is looked at again only when there is twice as much of it
            limit = max(CHUNK_CHARS, 2 * size)
            if len(lines) == count and size > MAX_BLOCK_CHARS:
                raise DataError(f"near byte {lines[0].start}: a list or code block of over 16 million characters")
    if lines:
        yield lines, newline, True


def _after_front_matter(decoded: Decoded) -> Iterator[tuple[Line, str]]:
    fence, first, held = None, True, []
    for piece in decoded.lines():
        text = piece.text.rstrip("\r\n")
        pair = (Line(text, piece.start, decoded.encoding), piece.text[len(text) :])
        if first and text.rstrip() in ("---", "+++"):
            fence = text.rstrip()
            held = [pair]
        elif fence:
            held.append(pair)
            if text.rstrip() == fence or (fence == "---" and text.rstrip() == "..."):
                fence, held = None, []
            elif len(held) > 1_000 or (fence == "---" and len(held) == 2 and not text.strip()):
                yield from held  # a rule, not front matter
                fence, held = None, []
        else:
            yield pair
        first = False
    yield from held


def _row_units(line: Line, labels: set[str]) -> Iterator[Unit]:
    """The cells of a table's row."""
    at = len(line.text) - len(line.text.lstrip(" \t>"))
    while at < len(line.text):
        if line.text[at] == "|":
            at += 1
            continue
        match = _CELL.match(line.text, at)
        end = max(match.end() if match else at, at + 1)
        cell = line.text[at:end]
        kept = cell.strip()
        if kept:
            start = at + cell.index(kept)
            stop = line.byte_at(start + len(kept))
            yield from _unit(line.byte_at(start), stop, kept, line, _Detail(None, False), labels)
        at = end


def _inline_units(
    token: Token, opening: Token, lines: Sequence[Line], newline: str, labels: set[str]
) -> Iterator[Unit]:
    """The unit of a paragraph or heading: where its lines stand in the document, without their prefixes."""
    first = token.map[0] if token.map else 0
    contents = token.content.split("\n")
    columns = [_column(lines[first + i].text, c, opening.markup) for i, c in enumerate(contents)]
    skip = _definition_lines(contents)
    if skip == len(contents) or any(c is None for c in columns):
        return
    kept = [c.strip() if i == len(contents) - 1 else c.lstrip() for i, c in enumerate(contents)][skip:]
    lead = _NOTE.match("\n".join(kept))
    begin = columns[skip] or 0
    if lead and lead.end() <= len(kept[0]):
        begin, kept[0] = begin + lead.end(), kept[0][lead.end() :]
    if not kept[0] and len(kept) > 1:
        skip, kept = skip + 1, kept[1:]
        begin = columns[skip] or 0
    line, last = lines[first + skip], lines[first + len(contents) - 1]
    layout = None
    if len(kept) > 1:
        prefix = lines[first + skip + 1].text[: columns[skip + 1]]
        width = max(len(lines[first + skip + i].text.rstrip()) for i in range(len(kept)))
        layout = Wrap(width, begin, prefix, newline)
    column = (columns[-1] or 0) + len(contents[-1].strip()) if len(kept) > 1 else begin + len(kept[0])
    block = opening.type == "paragraph_open" and not (lead and lead.end())
    yield from _unit(line.byte_at(begin), last.byte_at(column), "\n".join(kept), line, _Detail(layout, block), labels)


def _column(raw: str, content: str, markup: str) -> int | None:
    """Where the content stands in its line; None where it was changed on the way (tabs)."""
    wanted = content.strip()
    if markup.startswith("#"):
        heading = _HEADING.match(raw)
        column = raw.find(wanted, heading.end()) if heading else -1
        return column if column >= 0 else None
    kept = raw.rstrip()
    if not kept.endswith(wanted):
        return None
    return len(kept) - len(wanted)


def _definition_lines(contents: Sequence[str]) -> int:
    """How many lines at the beginning of a paragraph define link references."""
    count = 0
    while count < len(contents) and _DEFINITION.match(contents[count]):
        count += 1
        if count < len(contents) and _TITLE.match(contents[count]):
            count += 1
    return count


def _unit(start: int, end: int, content: str, line: Line, detail: _Detail, labels: set[str]) -> Iterator[Unit]:
    found = parts(content, labels)
    if len(content) > MAX_CODES and len(found) > MAX_CODES:
        return
    text, codes = protect(found)
    if has_prose(text):
        yield Unit(start, end, text, codes, encoding=line.encoding, detail=detail)


FORMAT = MarkdownFormat()
