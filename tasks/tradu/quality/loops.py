"""Measures that give runaway text away: words that come round again and again, and text that compresses to nothing."""

from __future__ import annotations

import zlib
from collections import Counter
from itertools import pairwise

COMPRESSIBLE_CHARS = 200
"""Shorter texts say nothing by their compression: the fixed cost of the compressor covers it."""
_FEW_WORDS = 8
_LONG_RUN = 4
_FEW_LINES = 20
_LONG_LINE_CHARS = 40


def repetition(text: str) -> float:
    """Share of a text's three-word sequences (characters, where words are not spaced) that were there before, 0 to 1.

    Short texts are judged by their longest run of one word alone.
    """
    tokens: list[str] | str = text.casefold().split()
    if len(tokens) * 25 < len(text):
        tokens = "".join(tokens)
    count = len(tokens)
    if count < _LONG_RUN:
        return 0.0
    run = longest = 1
    for before, token in pairwise(tokens):
        run = run + 1 if token == before else 1
        longest = max(longest, run)
    runs = longest / count if longest >= _LONG_RUN and any(t.isalnum() for t in tokens) else 0.0
    if count < _FEW_WORDS:
        return runs
    distinct = len(set(zip(tokens, tokens[1:], tokens[2:], strict=False)))
    return max(runs, 1 - distinct / (count - 2))


def compression_ratio(text: str) -> float | None:
    """Compressed size by size in UTF-8: prose 0.3 to 0.6, loops 0.005 to 0.08. None for short texts."""
    if len(text) < COMPRESSIBLE_CHARS:
        return None
    data = text.encode(errors="replace")
    return len(zlib.compress(data, 1)) / len(data)


def distinct_lines(text: str) -> str:
    """The lines of a text, each once: equal cells of a table are no loop, and cost nothing to translate again."""
    return "\n".join(dict.fromkeys(text.splitlines()))


def dominant_line_share(text: str) -> float:
    """Share of the most frequent long line among the lines that are not blank; 0 where there are few lines.

    Short lines may repeat: they are cells and labels.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) < _FEW_LINES:
        return 0.0
    line, count = Counter(lines).most_common(1)[0]
    return count / len(lines) if len(line) >= _LONG_LINE_CHARS else 0.0
