"""Cutting text that is longer than a model reads: at sentences, then clauses, then words; nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sentencex import segment

_CLAUSE = re.compile(r"(?<=[;:—])\s+|(?<=[,)])\s+|\s+(?=[(])")
_WORD = re.compile(r"\s+")


def sentences(text: str, language: str) -> list[str]:
    """The sentences of a text with the space around them: joined, they are the text."""
    parts = list(segment(language.split("-", 1)[0], text))
    return parts if "".join(parts) == text else [text]


def pieces(text: str, language: str, longest: int) -> list[str]:
    """Sentences, the long ones cut to at most `longest` characters; joined, they are the text."""
    return [piece for sentence in sentences(text, language) for piece in cut(sentence, longest)]


def cut(text: str, longest: int) -> list[str]:
    """Parts of at most `longest` characters, each as long as the boundaries allow; joined, they are the text."""
    parts = []
    while len(text) > longest:
        at = _boundary(text, longest)
        parts.append(text[:at])
        text = text[at:]
    return [*parts, text] if text else parts


def _boundary(text: str, longest: int) -> int:
    """Where to cut: after the last clause in reach, else the last word, else at the limit."""
    for pattern in (_CLAUSE, _WORD):
        ends = [match.end() for match in pattern.finditer(text, 0, longest) if match.end() >= longest // 3]
        if ends:
            return ends[-1]
    return longest


def fitting(texts: Sequence[str], lengths: Callable[[Sequence[str]], Sequence[int]], most: int) -> list[list[str]]:
    """Each text in pieces of at most `most` tokens, cut at clauses, else words; joined, they are the text.

    Args:
        texts: any text.
        lengths: how many tokens a model makes of each.
        most: how many it reads.
    """
    counts = lengths(texts)
    return [[text] if n <= most else _halved(text, lengths, most) for text, n in zip(texts, counts, strict=True)]


def _halved(text: str, lengths: Callable[[Sequence[str]], Sequence[int]], most: int) -> list[str]:
    halves = cut(text, max(1, (len(text) + 1) // 2))
    if len(halves) < 2:  # one character that the vocabulary spells in very many pieces
        return halves
    return [piece for pieces in fitting(halves, lengths, most) for piece in pieces]
