"""Text with more tokens than a model reads, cut so that nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence

from tradu.inference import clauses
from tradu.inference.marian.translator import LONGEST_TOKENS, Translator


def pieces_that_fit(translator: Translator, texts: Sequence[str]) -> list[list[str]]:
    """Each text in pieces of at most LONGEST_TOKENS tokens, cut at clauses, else words; joined, they are the text."""
    counts = [len(ids) for ids in translator.tokens(texts)]
    return [
        [text] if count <= LONGEST_TOKENS else _cut(translator, text) for text, count in zip(texts, counts, strict=True)
    ]


def _cut(translator: Translator, text: str) -> list[str]:
    halves = clauses.cut(text, max(1, (len(text) + 1) // 2))
    if len(halves) < 2:  # one character that the vocabulary spells in very many pieces
        return halves
    return [piece for pieces in pieces_that_fit(translator, halves) for piece in pieces]
