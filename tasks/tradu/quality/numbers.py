"""Compares the numbers of a text and of its translation by value: 3.2% is 3,2 %, 10,000 is 10.000 is 10 000."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from tradu.quality.number_words import expressed

_MARKS = ".,'’٫٬"  # inside one number; anything else that joins digits makes a date, a time, a version, a range
_JOINTS = ":/\u2010-\u2015−-"
_SPACES = " \u00a0\u2009\u202f"
# Digits joined by one sign each; by a space only where a group of exactly three digits follows.
_TOKEN = re.compile(rf"\d+(?:[{_MARKS}{_JOINTS}]\d+|[{_SPACES}]\d{{3}}(?!\d))*")
_GROUP = re.compile(r"\d+")
_CLOCK = re.compile(
    r"\b[ap]\.?\s?m\b|\d\s?(?:h|hrs?|uhr|時|시|点)(?:\b|\d)|\d:\d\d|\d\s?[ap]m|\b(?:noon|midnight)\b",
    re.IGNORECASE,
)
_DECADE = re.compile(
    r"\d0['’]?s\b|\b(?:anos|años|anys|années|anni|d[eéèê]cada|dècada|décennie)\b|er[\s-]jahre", re.IGNORECASE
)


def _spelled_out() -> dict[int, str]:
    """Fractions, superscripts and circled digits as plain digits, apart from what stands before them."""
    table = {}
    for point in range(0xB2, 0x2500):
        if unicodedata.category(chr(point)) == "No":
            plain = unicodedata.normalize("NFKC", chr(point)).replace("\u2044", "/")
            if _GROUP.search(plain):
                table[point] = f" {plain}"
    return table


_PLAIN = _spelled_out()
_ANY = re.compile(r"[\d" + "".join(map(chr, _PLAIN)) + "]")
_UNUSUAL = re.compile("[" + "".join(map(chr, _PLAIN)) + "]")


@dataclass(frozen=True, slots=True)
class Difference:
    """Numbers of the source that the translation lost, and numbers that it has without reason."""

    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Number:
    """A token, the values it can stand for, and the integers it is made of."""

    token: str
    values: frozenset[str]
    parts: tuple[int, ...]

    def equals(self, other: _Number) -> bool:
        if self.values and other.values:
            return not self.values.isdisjoint(other.values)
        return sorted(self.parts) == sorted(other.parts)


def _read(token: str) -> _Number:
    groups = [g if g.isascii() else "".join(str(unicodedata.digit(d)) for d in g) for g in _GROUP.findall(token)]
    marks = [m for m in token if not m.isdigit()]
    return _Number(token, frozenset(_values(groups, marks)), tuple(map(int, groups)))


def _values(groups: Sequence[str], marks: Sequence[str]) -> set[str]:
    """What a token can mean as one number (1.234 is 1234 and 1.234); nothing for a date, a time or a version."""
    if not marks:
        return {_plain(groups[0])}
    values = set()
    if len(set(marks)) == 1 and marks[0] in _MARKS + _SPACES and _thousands(groups):
        values.add(_plain("".join(groups)))
    whole = groups[:-1]
    simple = len(whole) == 1 or (len(set(marks[:-1])) == 1 and marks[0] != marks[-1] and _thousands(whole))
    if marks[-1] in _MARKS and simple and not set(marks) & set(_JOINTS):
        values.add(_plain(f"{''.join(whole)}.{groups[-1]}"))
    return values


def _thousands(groups: Sequence[str]) -> bool:
    """Thousands (1 234 567), or lakhs and crores (12,34,567)."""
    inner = {len(g) for g in groups[1:-1]}
    return len(groups[0]) <= 3 and len(groups[-1]) == 3 and (inner <= {3} or inner == {2})


def _plain(number: str) -> str:
    """Without leading zeros, and without trailing zeros of a fraction."""
    whole, _, fraction = number.partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole.lstrip('0') or '0'}{'.' + fraction if fraction else ''}"


def _numbers(text: str) -> list[_Number]:
    if _UNUSUAL.search(text):
        text = text.translate(_PLAIN)
    return [_read(t) for t in _TOKEN.findall(text)]


def _pair_off(ours: list[_Number], theirs: list[_Number]) -> tuple[list[_Number], list[_Number]]:
    """What is left of both sides once equal numbers are taken away."""
    left, others = [], list(theirs)
    for number in ours:
        twin = next((o for o in others if number.equals(o)), None)
        if twin is None:
            left.append(number)
        else:
            others.remove(twin)
    return left, others


def _broken_up(numbers: Sequence[_Number], others: Sequence[_Number]) -> list[_Number]:
    """Dates and ranges as their parts; a decimal stays whole unless the other side has just its parts."""
    singles = {o.parts[0] for o in others if len(o.parts) == 1} | {p for o in others if not o.values for p in o.parts}
    apart = []
    for number in numbers:
        if len(number.parts) > 1 and (not number.values or singles.issuperset(number.parts)):
            apart += [_Number(str(p), frozenset((str(p),)), (p,)) for p in number.parts]
        else:
            apart.append(number)
    return apart


def _same_clock(value: int, other: int) -> bool:
    return abs(value - other) == 12 and max(value, other) <= 24


def _same_decade(value: int, other: int) -> bool:
    return value != other and value % 100 == other % 100 and min(value, other) < 100


def _excused(number: _Number, text: str, other: str, others: list[_Number]) -> bool:
    """Whether a number of `text` that `other` lacks is there in another form."""
    values = [int(v) for v in number.values if v.isdigit()]
    if any(expressed(other, v) for v in values):
        return True
    for pattern, same in ((_DECADE, _same_decade), (_CLOCK, _same_clock)):
        if not (pattern.search(text) or pattern.search(other)):
            continue
        if pattern is _CLOCK and number.parts[0] in (0, 12, 24):  # 16:00 is 16h; 12 AM is 0:00; noon
            return True
        twin = next((o for o in others if any(same(v, p) for v in values for p in o.parts[:1])), None)
        if twin is not None:
            others.remove(twin)
            return True
    return False


def compare(source: str, translation: str) -> Difference:
    """The numbers that differ between a text and its translation, by value.

    Any Unicode digits, grouping and decimal marks; dates in any order and with month names; 4 PM and 16h; 1990s and
    anos 90; numbers, ordinals and months written as words are accepted for digits, both ways.
    """
    if not _ANY.search(source) and not _ANY.search(translation):
        return Difference()
    ours, theirs = _pair_off(_numbers(source), _numbers(translation))
    if not ours and not theirs:
        return Difference()
    ours, theirs = _pair_off(_broken_up(ours, theirs), _broken_up(theirs, ours))
    missing = [n.token for n in ours if not _excused(n, source, translation, theirs)]
    left = [n for n in ours if n.token in missing]
    added = [n.token for n in theirs if not _excused(n, translation, source, left)]
    return Difference(tuple(missing), tuple(added))
