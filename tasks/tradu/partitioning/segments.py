"""Cuts units into segments (sentences) and groups them to blocks; joining them again gives the unit's exact text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import sentencex

from tradu.documents import codes
from tradu.documents.model import Unit

_SENTENCE_MAY_END = re.compile(r"[.!?…。！？।؟۔](?=.)|\n", re.DOTALL)
_CLAUSE_ENDS = (re.compile(r"[;:—](?=\s)"), re.compile(r"[,،、，](?=\s?)"), re.compile(r"\s"))


@dataclass(frozen=True, slots=True)
class Segment:
    """A sentence, cell or field; `lead + source + trail` over a unit's segments is its text (codes renumbered)."""

    unit: int
    lead: str
    source: str
    trail: str
    code_offset: int


def cut(
    units: Iterable[Unit], language_of: Callable[[str], str], max_chars: int
) -> Iterator[tuple[str, list[Segment]]]:
    """The blocks of a document, each with its language: one ends where the language of the units changes."""
    for language, run in groupby(_with_languages(units, language_of, max_chars), key=itemgetter(0)):
        for block in blocks((segments for _, segments in run), max_chars):
            yield language, block


def _with_languages(
    units: Iterable[Unit], language_of: Callable[[str], str], max_chars: int
) -> Iterator[tuple[str, list[Segment]]]:
    """The segments of each unit that has some, with its language."""
    for number, unit in enumerate(units):
        language = language_of(unit.text)
        if segments := split(number, unit, language, max_chars):
            yield language, segments


def split(unit_number: int, unit: Unit, language: str, max_chars: int) -> list[Segment]:
    """The segments of a unit; none where it has no prose.

    A sentence longer than `max_chars` is cut at a clause boundary, or failing that at a space. What holds no prose
    between sentences goes into the `lead` of the next one.
    """
    segments: list[Segment] = []
    pending = ""
    for sentence in _sentences(unit.text, language):
        for piece in _pieces(sentence, max_chars):
            core = piece.strip()
            if not core or not codes.has_prose(core):
                pending += piece
                continue
            start = piece.index(core)
            offset = min(codes.code_indices(core), default=0)
            source = codes.shift(core, -offset)
            segments.append(Segment(unit_number, pending + piece[:start], source, "", offset))
            pending = piece[start + len(core) :]
    if segments and pending:
        last = segments[-1]
        segments[-1] = Segment(last.unit, last.lead, last.source, pending, last.code_offset)
    return segments


def _sentences(text: str, language: str) -> list[str]:
    """Sentences with the whitespace that follows them; their concatenation is the text."""
    if not _SENTENCE_MAY_END.search(text):
        return [text]
    found: list[str] = sentencex.segment(language, text)
    return found if "".join(found) == text else [text]


def _pieces(sentence: str, max_chars: int) -> Iterator[str]:
    while len(sentence) > max_chars:
        cut = _cut(sentence, max_chars)
        yield sentence[:cut]
        sentence = sentence[cut:]
    yield sentence


def _cut(sentence: str, max_chars: int) -> int:
    """Where to cut a sentence that is too long: after its last clause in the second half of what fits."""
    for boundary in _CLAUSE_ENDS:
        ends = [m.end() for m in boundary.finditer(sentence, max_chars // 2, max_chars)]
        if ends:
            return ends[-1]
    return max_chars


def blocks(units: Iterable[list[Segment]], max_chars: int) -> Iterator[list[Segment]]:
    """Groups consecutive segments to blocks of at most `max_chars`, cut between units wherever a unit fits whole."""
    block: list[Segment] = []
    size = 0
    for segments in units:
        total = sum(len(s.source) for s in segments)
        if block and size + total > max_chars:
            yield block
            block, size = [], 0
        for segment in segments:
            if block and size + len(segment.source) > max_chars:
                yield block
                block, size = [], 0
            block.append(segment)
            size += len(segment.source)
    if block:
        yield block
