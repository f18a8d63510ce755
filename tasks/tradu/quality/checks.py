"""Checks of one segment or block: numbers and yes/no, judged by the suites in include/expectations."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from tradu.documents import language as lang
from tradu.documents.model import CODE_BASE, MAX_CODES
from tradu.quality import estimation, loops, negation, numbers, units
from tradu.quality.estimation import ALONE, Penalties, Support
from tradu.quality.rules import row_judge

_CODE = re.compile(f"[{chr(CODE_BASE)}-{chr(CODE_BASE + MAX_CODES - 1)}]")
_UNKNOWN = re.compile(r"(?<!\S)[*@#](?=[^\W\d_])|\ufffd")  # Apertium's marks of words it does not know
_WORD = re.compile(r"[^\W\d_]+")
_LEGIBLE = re.compile(r"[^\W_]+")
_ENDS = re.compile(r"[.!?…。！？؟।:;]['\"’”»）)\]*_\s]*$")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ufffe\uffff]")
_DENSITY = {"zh": 0.4, "ja": 0.55, "ko": 0.6, "yue": 0.4}
"""Characters that a language needs for what takes one in English; about 1 for all that are not listed."""
_SLACK_CHARS = 15
"""Added to both lengths, so that "OK" may become "Está bem"."""


@dataclass(frozen=True, slots=True)
class TranslationChecks:
    """One row of the translations gate: what was seen in one segment's translation."""

    empty: bool
    """There was prose, and nothing came back."""
    length_ratio: float
    """Characters of prose, translation by source, evened out for dense scripts and short texts."""
    numbers_missing: int
    numbers_added: int
    units_changed: int
    """Units and currencies in whose place another one of the same measure stands."""
    negation_changed: bool
    """One side negates and the other does not: evidence for the score, no rule, for languages differ in it."""
    codes_missing: int
    """Inline codes (markup, URLs, placeholders) that were lost."""
    codes_added: int
    codes_misnested: int
    """Closing tags without their opening one before them. Seen only where the codes' spelling was given."""
    unknown_marks: int
    """Words that an engine marked as unknown, and replacement characters."""
    unknown_words: int
    """Words that the engine did not know and left as they were, where it can say so. Names are among them."""
    copied: bool
    """The translation is the source, although that is prose of another language."""
    repetition: float
    """Share of repeated three-word sequences beyond what the source has."""
    compression_ratio: float | None
    cut_off: bool
    """A long text that ends in the middle."""
    language: str | None
    language_confidence: float | None
    target_language_ok: bool | None
    """None: not judged, for the text is short or the detector not sure."""
    log_probability: float | None
    """How probable the models found it: the mean of a token, natural logarithm. None: they can't say."""
    lowest_log_probability: float | None
    """That of the least probable token."""
    score: float
    """The probability that it is good, by all evidence (`estimation.py`); 0 for what can't be used."""


@dataclass(frozen=True, slots=True)
class SourceChecks:
    """What was seen in a block before money is spent on it."""

    control_share: float
    """Control and replacement characters by characters: binary data, wrong encoding."""
    letter_share: float | None
    """Letters and digits by characters that are not blank. None: too short to be judged."""
    dominant_line_share: float
    repetition: float
    compression_ratio: float | None
    language: str | None
    language_confidence: float | None
    language_found: bool
    """False: long enough to be judged, and like no language."""


def check_translation(
    source: str,
    translation: str,
    source_language: str,
    target_language: str,
    codes: Sequence[str] = (),
    unknown_words: int = 0,
    support: Support = ALONE,
) -> TranslationChecks:
    """Everything that can be seen in a translation without a reference.

    Texts are coded: a private-use character stands for each inline code. `codes`: their spelling, in order, where
    the nesting of tags is to be checked too. `unknown_words`: how many the engine says it left as they were.
    `support`: what models say about it.
    """
    said, given = _prose(translation), _prose(source)
    origin, target = lang.base(source_language), lang.base(target_language)
    missing, added = _code_difference(source, translation)
    difference = numbers.compare(given, said)
    marks = max(0, len(_UNKNOWN.findall(said)) - len(_UNKNOWN.findall(given)))
    empty = bool(given.strip()) and not said.strip()
    ratio = _length_ratio(given, said, origin, target)
    copied = _copied(given, said, origin, target)
    repeats = max(0.0, loops.repetition(translation) - loops.repetition(source))  # codes are words here
    found = () if origin == target else lang.candidates(said)
    in_target = lang.is_in(found, target, origin)
    cut = _cut_off(given, said, ratio)
    negated = negation.difference(given, said, origin, target) != 0
    exchanged = units.changed(given, said)
    seen = TranslationChecks(
        empty=empty,
        length_ratio=round(ratio, 3),
        numbers_missing=len(difference.missing),
        numbers_added=len(difference.added),
        units_changed=exchanged,
        negation_changed=negated,
        codes_missing=missing,
        codes_added=added,
        codes_misnested=_misnested(translation, codes) if codes else 0,
        unknown_marks=marks,
        unknown_words=unknown_words,
        copied=copied,
        repetition=round(repeats, 3),
        compression_ratio=_ratio_beyond_source(given, said),
        cut_off=cut,
        language=found[0].language if found else None,
        language_confidence=found[0].confidence if found else None,
        target_language_ok=in_target,
        log_probability=support.log_probability,
        lowest_log_probability=support.lowest,
        score=0.0,
    )
    nothing_to_do = source == translation and (origin == target or not _WORD.search(given))
    return replace(seen, score=1.0 if nothing_to_do else _score(seen, said, lang.kin(origin, target), support))


def penalties(seen: TranslationChecks, prose: str, kin: bool, support: Support) -> Penalties:
    """What speaks against a translation, as the score weighs it."""
    length = math.log(max(seen.length_ratio, 0.001))
    return Penalties(
        numbers=min(2, seen.numbers_missing + seen.numbers_added + seen.units_changed),
        negation=seen.negation_changed,
        shorter=max(0.0, -length),
        longer=max(0.0, length),
        repetition=seen.repetition,
        cut_off=seen.cut_off,
        unknown=min(1.0, (seen.unknown_marks + seen.unknown_words) / max(1, len(prose.split()))),
        distant=not kin,
        **estimation.surprise(support),
    )


def check_source(text: str) -> SourceChecks:
    """Whether a block's source is text worth translating: not binary, not a loop, in some language.

    One line per segment: loops are looked for within segments, for equal cells of a table are nothing bad.
    """
    prose = _prose(text)
    once = loops.distinct_lines(prose)
    visible = sum(map(len, prose.split()))
    legible = sum(map(len, _LEGIBLE.findall(prose)))
    found = lang.detect(prose)
    return SourceChecks(
        control_share=round(len(_CONTROL.findall(prose)) / max(1, len(prose)), 4),
        letter_share=round(legible / visible, 4) if visible >= 100 else None,
        dominant_line_share=round(loops.dominant_line_share(prose), 4),
        repetition=round(loops.repetition(once), 4),
        compression_ratio=loops.compression_ratio(once),
        language=found.language if found else None,
        language_confidence=found.confidence if found else None,
        language_found=found is None or lang.is_language(prose, found),
    )


def failed(checks: TranslationChecks | SourceChecks) -> tuple[str, ...]:
    """Why a segment or block fails the row rules of its suite: stable identifiers, none where all is well."""
    suite = "translations" if isinstance(checks, TranslationChecks) else "blocks"
    return row_judge(suite, tuple(type(checks).__slots__))(checks)


def as_columns(rows: Sequence[TranslationChecks | SourceChecks]) -> dict[str, list[object]]:
    """Checks of one kind as columns, for a Parquet file or a frame."""
    return {f.name: [getattr(row, f.name) for row in rows] for f in fields(rows[0])} if rows else {}


def _prose(text: str) -> str:
    return _CODE.sub(" ", text)


def _code_difference(source: str, translation: str) -> tuple[int, int]:
    given, said = _CODE.findall(source), _CODE.findall(translation)
    if given == said:
        return 0, 0
    had, has = Counter(given), Counter(said)
    return (had - has).total(), (has - had).total()


def _misnested(translation: str, codes: Sequence[str]) -> int:
    """Closing tags of the translation that close nothing that is open."""
    open_: list[str] = []
    wrong = 0
    for mark in _CODE.findall(translation):
        number = ord(mark) - CODE_BASE
        tag = re.match(r"<(/?)([A-Za-z][\w:-]*)[^>]*?(/?)>", codes[number]) if number < len(codes) else None
        if tag is None or tag[3]:
            continue
        if not tag[1]:
            open_.append(tag[2])
        elif tag[2] in open_:
            wrong += open_[-1] != tag[2]
            open_.remove(tag[2])
        elif any(re.match(rf"<{re.escape(tag[2])}[\s>]", code) for code in codes):
            wrong += 1
    return wrong


def _length_ratio(source: str, translation: str, origin: str, target: str) -> float:
    given = len(source.strip()) / _DENSITY.get(origin, 1.0)
    said = len(translation.strip()) / _DENSITY.get(target, 1.0)
    return (said + _SLACK_CHARS) / (given + _SLACK_CHARS)


def _copied(source: str, translation: str, origin: str, target: str) -> bool:
    """Whether running prose came back as it was. Names, labels, code and near languages may stay the same."""
    if origin == target or source.split() != translation.split():
        return False
    words = _WORD.findall(source)
    if lang.letters(source) < lang.JUDGED_LETTERS // 2:
        return False
    small = [w for w in words if w[0].islower()]
    if not any(w[0].isupper() or w[0].islower() for w in words):
        return True  # a script without capitals, long enough
    return len(small) >= (10 if lang.kin(origin, target) else 5) and len(small) * 2 >= len(words)


def _ratio_beyond_source(source: str, translation: str) -> float | None:
    """The translation's compression; not judged where the source itself compresses as well."""
    ratio = loops.compression_ratio(translation)
    if ratio is None:
        return None
    own = loops.compression_ratio(source)
    return None if own is not None and own <= ratio * 1.5 else round(ratio, 4)


def _cut_off(source: str, translation: str, ratio: float) -> bool:
    if len(source) < 80:
        return False
    lost_its_end = bool(_ENDS.search(source)) and not _ENDS.search(translation)
    return ratio < 0.5 or (lost_its_end and ratio < 0.9)


def _score(seen: TranslationChecks, prose: str, kin: bool, support: Support) -> float:
    """0 for what can't be used, else what the evidence says."""
    codes = seen.codes_missing or seen.codes_added
    if seen.empty or seen.copied or codes or seen.target_language_ok is False:
        return 0.0
    return estimation.score(penalties(seen, prose, kin, support), support)
