"""Harder checks for what a model on trial has made: of a whole block, in which small signs add up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tradu.documents import language
from tradu.quality import checks
from tradu.quality.checks import TranslationChecks

LENGTHS = (0.7, 1.7)
"""Characters of a block's translation by those of its source, evened out as the checks do it. Single segments may be
far off (0.4 to 2.5 pass the gate); of a whole block less than that is missing text, and more is made up."""
LOWEST_SCORE = 0.3
"""Of a segment: of a neural model's output two in a thousand score below 0.5."""
LOWEST_MEAN_SCORE = 0.6
REPETITION = 0.15
"""Half of what the gate allows."""
COPIED_SHARE = 0.5
"""Of the characters of running prose that may stand as they were."""
SAME_OUTPUT = 3
"""So many different sources with one translation: the model does not read them."""
_PROSE_LETTERS = 20
"""A segment of fewer letters may well have the translation of another one, or be a name."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A segment of a block, its translation, and what was seen in it."""

    source: str
    translation: str
    seen: TranslationChecks


def faults(block: Sequence[Judged], origin: str, target: str) -> tuple[str, ...]:
    """What is wrong with a block's translation, as stable identifiers; none where it may be delivered.

    Those of the gate's rules for segments, and: `truncated`, `over_long`, `copied`, `loop`, `same_output`, `score`.
    """
    found = [reason for one in block for reason in checks.failed(one.seen)]
    found += _of_the_whole(block, language.base(origin) != language.base(target))
    return tuple(dict.fromkeys(found))


def _of_the_whole(block: Sequence[Judged], other_language: bool) -> list[str]:
    characters = sum(len(one.source) for one in block)
    ratio = sum(one.seen.length_ratio * len(one.source) for one in block) / max(1, characters)
    mean = sum(one.seen.score * len(one.source) for one in block) / max(1, characters)
    prose = [one for one in block if language.letters(one.source) >= _PROSE_LETTERS]
    same = sum(len(one.source) for one in prose if one.source.split() == one.translation.split())
    sources = defaultdict(set)
    for one in prose:
        sources[one.translation].add(one.source)
    signs = {
        "truncated": ratio < LENGTHS[0],
        "over_long": ratio > LENGTHS[1],
        "copied": other_language and same > COPIED_SHARE * sum(len(one.source) for one in prose),
        "loop": any(one.seen.repetition > REPETITION for one in block),
        "same_output": any(len(each) >= SAME_OUTPUT for each in sources.values()),
        "score": mean < LOWEST_MEAN_SCORE or any(one.seen.score < LOWEST_SCORE for one in block),
    }
    return [name for name, is_so in signs.items() if is_so]
