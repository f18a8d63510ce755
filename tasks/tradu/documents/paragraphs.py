"""Finds the prose in lines of plain text: paragraphs, list items, headings; not code, tables or rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tradu.documents.code_look import looks_like_code
from tradu.documents.model import MAX_UNIT_CHARS
from tradu.documents.wrapping import NARROWEST_CHARS, Wrap, chunks, may_start_line

_INDENT = re.compile(r"[ \t\u00A0\u3000]*(?:>[ \t]?)*[ \t]*")
_MARKER = re.compile(r"(?:[-*+•‣◦·–—]|\(?\d{1,4}[.)]|\(?[^\W\d_][.)]|\(?[ivxIVX]{1,5}[.)])[ \t]+(?=\S)")
_DIRECTIVE = re.compile(r"\.\.(?:\s|$)|:[\w -]+:(?:\s|$)")
_LITERAL_DIRECTIVE = re.compile(
    r"\.\.\s+(?:code|code-block|sourcecode|literalinclude|math|raw|image|figure|doctest|parsed-literal|"
    r"productionlist|highlight|toctree|include)::"
)
_LETTER = re.compile(r"[^\W\d_]")
_TABLE = re.compile(r"[|+].*[|+]\s*$|.*\|.*\|.*\|")
_GAP = re.compile(r"(?<=\S)(?: {3,}|[ ]*\t[ \t]*)(?=\S)")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*\s+|\s+")
SLACK_CHARS = 10
WIDEST_CHARS = 140


@dataclass(slots=True)
class Run:
    """A stretch of prose over one or more lines; columns are characters, the last one exclusive."""

    first: int
    first_column: int
    last: int
    last_column: int
    text: str
    prefix: str | None = None
    """What the further lines begin with; None where there is only one."""
    width: int = 0

    def layout(self, newline: str) -> Wrap | None:
        """How to wrap a translation; None for a single line, which stays one."""
        if self.prefix is None:
            return None
        return Wrap(self.width, self.first_column, self.prefix, newline)


@dataclass(slots=True)
class ProseFinder:
    """Looks at one block (lines between blank ones) after the other, and remembers whether a literal one is open."""

    tabular: bool = False
    """Whether gaps of three spaces or a tab separate cells."""
    _literal_indent: int | None = field(default=None)
    _colon_indent: int | None = field(default=None)
    """Indentation of the block before, where it ended with a colon."""

    def runs(self, lines: Sequence[str]) -> list[Run]:
        """The prose of a block, in order."""
        indents = [_columns(line) for line in lines if line.strip()]
        if not indents:
            return []
        if self._literal_indent is not None:
            if min(indents) > self._literal_indent:
                return []
            self._literal_indent = None
        last = lines[-1].rstrip()
        if last.endswith("::") or _LITERAL_DIRECTIVE.match(lines[0].strip()):
            self._literal_indent = indents[-1] if last.endswith("::") else indents[0]
        introduced = self._colon_indent is not None and min(indents) > self._colon_indent
        self._colon_indent = indents[-1] if last.endswith(":") else self._colon_indent if introduced else None
        if _LITERAL_DIRECTIVE.match(lines[0].strip()) or looks_like_code(lines, introduced=introduced):
            return []
        return [piece for run in self._group(lines) for piece in _cut(run)]

    def _group(self, lines: Sequence[str]) -> Iterator[Run]:
        width = _width(lines)
        current: Run | None = None
        for number, line in enumerate(lines):
            indent = _INDENT.match(line)
            column = indent.end() if indent else 0
            text = line[column:].rstrip()
            gaps = list(_GAP.finditer(text)) if self.tabular else []
            if not _LETTER.search(text) or _DIRECTIVE.match(text) or _TABLE.match(text) or gaps:
                if current:
                    yield current
                current = None
                if gaps and not _TABLE.match(text):
                    yield from _cells(number, column, text)
                continue
            marker = _MARKER.match(text)
            if current and not marker and _continues(current, lines, number, column, width):
                _extend(current, number, line[:column], text, width)
                continue
            if current:
                yield current
            column += marker.end() if marker else 0
            text = line[column:].rstrip()
            current = Run(number, column, number, column + len(text), text)
        if current:
            yield current


def _columns(line: str) -> int:
    match = _INDENT.match(line)
    return len(match[0].expandtabs()) if match else 0


def _width(lines: Sequence[str]) -> int:
    """Width a block was wrapped to: its longest line, but for one that a single long word made so."""
    lengths = sorted((len(line.rstrip()) for line in lines), reverse=True)
    if len(lengths) > 2 and lengths[0] > lengths[1] + SLACK_CHARS:
        longest = max(lines, key=lambda line: len(line.rstrip()))
        if max(len(word) for word in longest.split()) > 30:
            return lengths[1]
    return lengths[0]


def _continues(run: Run, lines: Sequence[str], number: int, column: int, width: int) -> bool:
    """Whether a line goes on with the run: indented like it, its first word had no room before."""
    if not NARROWEST_CHARS <= width <= WIDEST_CHARS or len(run.text) > MAX_UNIT_CHARS:
        return False
    before, line = lines[number - 1].rstrip(), lines[number]
    prefix = line[:column]
    if run.prefix is not None:
        if prefix != run.prefix:
            return False
    elif prefix.count(">") != lines[run.first][: run.first_column].count(">") or not _hangs(
        lines[run.first], run, column
    ):
        return False
    text = line[column:].rstrip()
    word = next(chunks(text))
    if not may_start_line(text.split(" ", 1)[0]):
        return False
    return len(before) + 1 + len(word) > width - SLACK_CHARS


def _hangs(first_line: str, run: Run, column: int) -> bool:
    """Whether a second line at `column` fits the first: same indentation, a first-line indent, or under the item."""
    indent = _INDENT.match(first_line)
    plain = indent is not None and indent.end() == run.first_column
    return column == run.first_column or (plain and column < run.first_column)


def _extend(run: Run, number: int, prefix: str, text: str, width: int) -> None:
    hyphen = run.text.endswith("-") and run.text[-2:-1].isalpha() and text[:1].isalpha()
    run.text += text if hyphen else f" {text}"
    run.last, run.last_column = number, len(prefix) + len(text)
    run.prefix, run.width = prefix, width


def _cells(number: int, column: int, text: str) -> Iterator[Run]:
    start = 0
    for end, following in [(m.start(), m.end()) for m in _GAP.finditer(text)] + [(len(text), len(text))]:
        yield Run(number, column + start, number, column + end, text[start:end])
        start = following


def _cut(run: Run) -> Iterator[Run]:
    """A line too long for a unit, in pieces that end with a sentence, or failing that a word."""
    if run.first != run.last or len(run.text) <= MAX_UNIT_CHARS:
        run.text = re.sub(r" {2,}", " ", run.text)
        yield run
        return
    start = 0
    while start < len(run.text):
        end = len(run.text)
        if end - start > MAX_UNIT_CHARS:
            stops = list(_SENTENCE_END.finditer(run.text, start + MAX_UNIT_CHARS // 2, start + MAX_UNIT_CHARS))
            best = [m for m in stops if not m[0].isspace()] or stops
            end = best[-1].end() if best else start + MAX_UNIT_CHARS
        text = run.text[start:end]
        kept = text.strip()
        column = run.first_column + start + len(text) - len(text.lstrip())
        if kept:
            yield Run(run.first, column, run.last, column + len(kept), re.sub(r" {2,}", " ", kept))
        start = end
