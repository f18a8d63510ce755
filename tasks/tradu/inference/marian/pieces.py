"""Text with more tokens than a model reads, cut so that nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence

from tradu.inference import clauses
from tradu.inference.marian.translator import LONGEST_TOKENS, Translator


def pieces_that_fit(translator: Translator, texts: Sequence[str]) -> list[list[str]]:
    """Each text in pieces of at most LONGEST_TOKENS tokens, cut at clauses, else words; joined, they are the text."""
    return clauses.fitting(texts, lambda some: [len(ids) for ids in translator.tokens(some)], LONGEST_TOKENS)
