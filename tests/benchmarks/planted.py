"""Errors planted into translations, one kind at a time: a check of quality must find them, and leave the rest alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from tradu.quality import negation

_WORD = re.compile(r"[^\W\d_]+")
_DIGIT = re.compile(r"\d")
_CLAUSE = re.compile(
    r"[,;:(]\s|\s[-–—]\s|\s(?=(?:and|or|but|because|if|when|which|that|to|e|ou|mas|porque|se|quando|que|para)\s)"
)
LONG_WORD = 5
"""Letters from which on a word is taken for one that carries meaning."""
LEAST_LOST = 3
"""Words that a missing clause has at least; and no more than two thirds of the text."""

Plant = Callable[[str, Random], str | None]
"""A translation with the error; None: it has no place for it."""


@dataclass(frozen=True, slots=True)
class Planted:
    """A translation with one error in it."""

    kind: str
    source: str
    translation: str


def dropped_negation(language: str) -> Plant:
    """Takes out one word of negation, as far as the sentence stays one."""

    def plant(text: str, random: Random) -> str | None:
        found = list(negation.words(text, language))
        if not found:
            return None
        match = random.choice(found)
        joined = "can" if match[0].casefold() == "cannot" else ""
        without = f"{text[: match.start()]}{joined}{text[match.end() :]}"
        return re.sub(r"\s+", " ", without).strip()

    return plant


def swapped_term(words: Sequence[str]) -> Plant:
    """Puts a word of another text in the place of one that carries meaning."""

    def plant(text: str, random: Random) -> str | None:
        own = [m for m in _WORD.finditer(text) if len(m[0]) >= LONG_WORD]
        if not own:
            return None
        match = random.choice(own)
        other = next(w for w in iter(lambda: random.choice(words), None) if w.casefold() not in text.casefold())
        other = other.capitalize() if match[0][0].isupper() else other
        return f"{text[: match.start()]}{other}{text[match.end() :]}"

    return plant


def changed_number(text: str, random: Random) -> str | None:
    """Another digit in the place of one."""
    digits = list(_DIGIT.finditer(text))
    if not digits:
        return None
    match = random.choice(digits)
    other = random.choice([d for d in "123456789" if d != match[0]])
    return f"{text[: match.start()]}{other}{text[match.end() :]}"


def missing_clause(text: str, random: Random) -> str | None:
    """Leaves out what stands between two boundaries of clauses, or from one to the end."""
    end = len(text.rstrip(".!?"))
    borders = [0, *(m.start() for m in _CLAUSE.finditer(text[:end])), end]
    total = len(text.split())
    spans = [
        (a, b)
        for i, a in enumerate(borders)
        for b in borders[i + 1 :]
        if LEAST_LOST <= len(text[a:b].split()) <= total * 2 / 3
    ]
    if not spans:
        return None
    start, stop = random.choice(spans)
    left = (text[:start] + text[stop:]).lstrip(" ,;:)")
    return left[:1].upper() + left[1:] if text[:1].isupper() else left


def loop(text: str, random: Random) -> str | None:
    """Says its last words three to six times more."""
    words = text.rstrip(".!?").split()
    again = " ".join(words[-random.randint(2, 4) :])
    return f"{text.rstrip('.!?')} {' '.join([again] * random.randint(3, 6))}" if len(words) > 4 else None


def planted(
    rows: Sequence[tuple[str, str]], language: str, foreign: Mapping[str, str], seed: int = 1
) -> Iterator[Planted]:
    """Every kind of error in every (source, translation) that has a place for it.

    Args:
        rows: good translations.
        language: that of the translations.
        foreign: a translation into a wrong language by source, where there is one.
        seed: of what is left to chance.
    """
    words = [w for _, text in rows for w in _WORD.findall(text) if len(w) >= LONG_WORD and w.islower()]
    kinds: dict[str, Plant] = {
        "dropped negation": dropped_negation(language),
        "swapped term": swapped_term(words),
        "changed number": changed_number,
        "missing clause": missing_clause,
        "loop": loop,
    }
    for source, text in rows:
        random = Random(f"{seed} {source}")
        for kind, plant in kinds.items():
            bad = plant(text, random)
            if bad is not None and bad != text:
                yield Planted(kind, source, bad)
        if source in foreign:
            yield Planted("wrong language", source, foreign[source])
