"""Inline codes: what is not prose in a text becomes one private-use character each, and comes back as it was."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from tradu.documents.model import CODE_BASE, MAX_CODES
from tradu.documents.protected import MAY_HOLD, PROTECTED
from tradu.errors import DataError

CODE_CLASS = f"[{chr(CODE_BASE)}-{chr(CODE_BASE + MAX_CODES - 1)}]"
_CODE = re.compile(CODE_CLASS)
_WORD = re.compile(r"[^\W\d_]{2}|[\u0E00-\u0EFF\u3040-\u30FF\u3400-\u9FFF\uAC00-\uD7AF]")
_WORDS = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_TAG = re.compile(r"<(/?)([A-Za-z][\w:-]*)[^>]*?(/?)>\Z", re.DOTALL)
_DELIMITER = re.compile(r"(?:\*+|_+|~~+)\Z")


class Markup(str):
    """A part of a unit that is markup, in its spelling in the document."""

    __slots__ = ()


def protect(parts: str | Sequence[str], spell: Callable[[str], str] | None = None) -> tuple[str, tuple[str, ...]]:
    """The coded text of a unit and its codes: markup parts, and whatever in the other parts is not prose.

    `spell` gives the spelling in the document of something found in a text part (where the format escapes characters).

    Raises:
        DataError: the unit would need more codes than there are.
    """
    codes: list[str] = []

    def code(spelling: str) -> str:
        if len(codes) == MAX_CODES:
            raise DataError(f"more than {MAX_CODES} inline codes in one paragraph")
        codes.append(spelling)
        return chr(CODE_BASE + len(codes) - 1)

    def found(match: re.Match[str]) -> str:
        return code(spell(match[0]) if spell else match[0])

    text = []
    for part in [parts] if isinstance(parts, str) and not isinstance(parts, Markup) else parts:
        if isinstance(part, Markup):
            text.append(code(str(part)))
        else:
            text.append(PROTECTED.sub(found, part) if MAY_HOLD.search(part) else part)
    return "".join(text), tuple(codes)


def restore(text: str, codes: Sequence[str], spell: Callable[[str], str] | None = None) -> str:
    """The text with each code in its spelling; `spell` escapes the prose between them.

    Raises:
        DataError: the text has a code that is not the unit's.
    """
    pieces, end = [], 0
    for match in _CODE.finditer(text):
        index = ord(match[0]) - CODE_BASE
        if index >= len(codes):
            raise DataError(f"inline code {index} is not one of the text's {len(codes)}")
        prose = text[end : match.start()]
        pieces += [spell(prose) if spell else prose, codes[index]]
        end = match.end()
    pieces.append(spell(text[end:]) if spell else text[end:])
    return "".join(pieces)


def code_indices(text: str) -> list[int]:
    """The numbers of the codes in a text, in order of appearance."""
    return [ord(c) - CODE_BASE for c in _CODE.findall(text)]


def plain(text: str) -> str:
    """The text without its codes."""
    return _CODE.sub("", text)


def shift(text: str, by: int) -> str:
    """The text with every code's number moved by `by`.

    Raises:
        ValueError: a number would leave the range.
    """
    if not by or not text:
        return text

    def moved(match: re.Match[str]) -> str:
        number = ord(match[0]) - CODE_BASE + by
        if not 0 <= number < MAX_CODES:
            raise ValueError(f"code {number - by} can't be moved by {by}")
        return chr(CODE_BASE + number)

    return _CODE.sub(moved, text)


def has_prose(text: str) -> bool:
    """Whether there is at least one word worth translating: two letters in a row, or one of a script without spaces."""
    return _WORD.search(text) is not None


def reads_like_prose(text: str) -> bool:
    """Whether a cell or field is running text and no name, number or key: two words, one of them not capitalised."""
    words = _WORDS.findall(text)
    if len(words) < 2:
        return len(words) == 1 and len(words[0]) >= 4 and _WORD.match(words[0][:1]) is not None
    return any(len(w) > 1 and not w[0].isupper() for w in words)


def pairs(codes: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Numbers of opening and closing codes that belong together: tags, brackets, emphasis."""
    waiting: list[tuple[str, int]] = []
    for number, spelling in enumerate(codes):
        opens, closes = _role(spelling)
        place = next((i for i in range(len(waiting) - 1, -1, -1) if waiting[i][0] == closes), None) if closes else None
        if place is not None:
            yield waiting[place][1], number
            del waiting[place:]
        elif opens:
            waiting.append((opens, number))


def _role(spelling: str) -> tuple[str | None, str | None]:
    """What a code opens and what it closes."""
    tag = _TAG.match(spelling)
    if tag:
        name = tag[2].lower()
        return (None, name) if tag[1] else (None if tag[3] else name, None)
    if _DELIMITER.match(spelling):
        return spelling, spelling
    if spelling in ("[", "!["):
        return "[", None
    return (None, "[") if spelling.startswith("]") else (None, None)


def difference(source: str, translation: str, codes: Sequence[str]) -> str | None:
    """What is wrong with the codes of a translation (missing, doubled, out of nesting); None if nothing."""
    wanted, found = code_indices(source), code_indices(translation)
    if wanted == found:
        return None
    if missing := [i for i in wanted if i not in found]:
        return f"{len(missing)} inline code(s) missing, the first is {codes[missing[0]]!r}"
    if len(found) > len(wanted):
        return f"{len(found) - len(wanted)} inline code(s) too many"
    place = {number: position for position, number in enumerate(found)}
    spans = []
    for first, last in pairs(codes):
        a, b = place[first], place[last]
        if a > b and codes[first] != codes[last]:
            return f"{codes[last]!r} comes before {codes[first]!r}"
        spans.append((min(a, b), max(a, b)))
    open_ends: list[int] = []
    for a, b in sorted(spans):
        while open_ends and open_ends[-1] < a:
            open_ends.pop()
        if open_ends and b > open_ends[-1]:
            return f"{codes[found[a]]!r} and {codes[found[b]]!r} cross another pair"
        open_ends.append(b)
    return None
