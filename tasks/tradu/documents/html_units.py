"""Makes units of HTML tokens: inline elements are codes, block elements part units, some elements are left alone."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tradu.documents.codes import Markup, has_prose, protect
from tradu.documents.model import MAX_UNIT_CHARS, SLOT, Unit
from tradu.documents.tags import MAX_TEXT_CHARS, Attribute, Kind, Token, attributes
from tradu.errors import DataError

MAX_DEPTH = 2_000
MAX_KEPT_CHARS = 64 * 1024
"""An element left alone inside a paragraph that is longer than this parts the paragraph."""
INLINE = frozenset(
    {
        "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "br", "cite", "code", "data", "del", "dfn", "em",
        "font", "i", "img", "ins", "kbd", "label", "mark", "math", "meter", "nobr", "output", "q", "rb",
        "rp", "rt", "ruby", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "svg", "time",
        "tt", "u", "var", "wbr"
    }
)  # fmt: skip
VOID = frozenset(
    {
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
        "track", "wbr"
    }
)  # fmt: skip
KEPT = frozenset(
    {
        "pre", "code", "kbd", "samp", "var", "svg", "math", "textarea", "script", "style", "template",
        "object"
    }
)  # fmt: skip
"""Elements whose content is never text to translate."""
CLOSED_BY_SIBLING = frozenset(["li", "dt", "dd", "p", "td", "th", "tr", "option", "thead", "tbody", "tfoot"])
TEXT_ATTRIBUTES = frozenset({"title", "alt", "placeholder", "aria-label", "aria-description", "aria-placeholder"})
_META = re.compile(
    r"""\b(?:name|property)\s*=\s*["']?(?:description|keywords|og:title|og:description|twitter:title|"""
    r"""twitter:description)["'\s/]""",
    re.IGNORECASE,
)
_UNTRANSLATED = re.compile(
    r"""\btranslate\s*=\s*["']?no\b|\bclass\s*=\s*(?:["'][^"']*\bnotranslate\b|notranslate\b)""", re.IGNORECASE
)
_SPACE = re.compile(r"[ \t\r\n\f]+")
_NBSP = re.compile(r"&(?:nbsp|#160|#x0*a0);?", re.IGNORECASE)


def escape(text: str, quote: str = "", *, nbsp: bool = False) -> str:
    """Text as HTML; `quote` is escaped where it would end an attribute."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if quote:
        text = text.replace('"', "&quot;") if quote == '"' else text.replace("'", "&#39;")
    return text.replace("\u00a0", "&nbsp;") if nbsp else text


@dataclass(frozen=True, slots=True)
class HtmlDetail:
    """How a unit's text is escaped."""

    quote: str = ""
    nbsp: bool = False

    def escape(self, text: str) -> str:
        """Text as it is written here."""
        return escape(text, self.quote, nbsp=self.nbsp)


@dataclass(slots=True)
class _Piece:
    """A part of the unit being collected."""

    raw: str
    start: int
    end: int
    code: bool
    name: str = ""
    kind: Kind = Kind.TEXT
    inner: list[Unit] = field(default_factory=list)
    spelling: str = ""
    """A code's spelling with slots for the units inside it."""

    @property
    def blank(self) -> bool:
        return not self.code and not self.raw.strip(" \t\r\n\f")


class UnitCollector:
    """Takes tokens one by one and gives units as soon as they are complete."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self.pieces: list[_Piece] = []
        self.size = 0
        self.open: list[str] = []
        self.kept_from: int | None = None
        """Depth of the element that is left alone, while inside one."""
        self.kept: _Piece | None = None

    def take(self, token: Token) -> Iterator[Unit]:
        """The units that this token completes."""
        if self.kept_from is not None:
            yield from self._keep(token)
        elif token.kind is Kind.TEXT:
            yield from self._add(_Piece(token.raw, token.start, token.end, False))
        elif token.kind is Kind.OTHER:
            if token.raw.startswith("<!--") or not self.pieces:
                comment = _Piece(token.raw, token.start, token.end, True, kind=Kind.OTHER, spelling=token.raw)
                yield from self._add(comment)
            else:
                yield from self.flush()
        elif token.kind is Kind.OPEN:
            yield from self._opened(token)
        else:
            yield from self._closed(token)

    def _opened(self, token: Token) -> Iterator[Unit]:
        inline = token.name in INLINE
        if not inline:
            yield from self.flush()
        if token.name not in VOID and not token.raw.endswith("/>"):
            self._push(token.name)
            if token.name in KEPT or _UNTRANSLATED.search(token.attributes):
                self.kept_from = len(self.open)
                self.kept = _Piece(token.raw, token.start, token.end, True, kind=Kind.OTHER) if inline else None
                return
        elif _UNTRANSLATED.search(token.attributes):
            if inline:
                yield from self._add(self._code(token, []))
            return
        piece = self._code(token, list(self._attribute_units(token)))
        if inline:
            yield from self._add(piece)
        else:
            yield from piece.inner

    def _push(self, name: str) -> None:
        if name in CLOSED_BY_SIBLING and name in self.open[-1:]:
            self.open.pop()
        self.open.append(name)
        if len(self.open) > MAX_DEPTH:
            raise DataError(f"elements nested deeper than {MAX_DEPTH:,} levels")

    def _closed(self, token: Token) -> Iterator[Unit]:
        self._pop(token.name)
        if token.name in INLINE:
            yield from self._add(self._code(token, []))
        else:
            yield from self.flush()

    def _pop(self, name: str) -> None:
        for depth in range(len(self.open) - 1, -1, -1):
            if self.open[depth] == name:
                del self.open[depth:]
                return

    def _keep(self, token: Token) -> Iterator[Unit]:
        """Inside an element that is left alone: all of it is one code, or none of the text's business."""
        if token.kind is Kind.OPEN and token.name not in VOID and not token.raw.endswith("/>"):
            before = len(self.open)
            self._push(token.name)
            if len(self.open) == before and self.kept_from == before:  # <li translate=no>..<li>: it ended here
                self.kept_from = None
                self.open.pop()
                yield from self.take(token)
                return
        elif token.kind is Kind.CLOSE:
            self._pop(token.name)
        if self.kept is not None:
            self.kept.raw += token.raw
            self.kept.end = token.end
            if len(self.kept.raw) > MAX_KEPT_CHARS:
                self.kept = None
                yield from self.flush()
        if self.kept_from is not None and len(self.open) < self.kept_from:
            self.kept_from, kept, self.kept = None, self.kept, None
            if kept is not None:
                kept.spelling = kept.raw
                yield from self._add(kept)
            if token.kind is Kind.CLOSE and token.name not in INLINE and kept is None:
                yield from self.flush()

    def _code(self, token: Token, inner: list[Unit]) -> _Piece:
        spelling, end = "", 0
        for unit in inner:
            first = unit.start - token.start
            # offsets are bytes, the spelling is characters: both count from the tag's start
            first = len(token.raw.encode(self.encoding)[:first].decode(self.encoding))
            last = len(token.raw.encode(self.encoding)[: unit.end - token.start].decode(self.encoding))
            spelling += token.raw[end:first] + SLOT
            end = last
        spelling += token.raw[end:]
        return _Piece(token.raw, token.start, token.end, True, token.name, token.kind, inner, spelling)

    def _attribute_units(self, token: Token) -> Iterator[Unit]:
        meta = token.name == "meta" and _META.search(token.attributes + " ")
        for attribute in attributes(token):
            readable = attribute.name in TEXT_ATTRIBUTES or (meta and attribute.name == "content")
            button = token.name == "input" and attribute.name == "value" and "submit" in token.attributes
            if readable or button:
                unit = self._attribute_unit(token, attribute)
                if unit:
                    yield unit

    def _attribute_unit(self, token: Token, attribute: Attribute) -> Unit | None:
        raw = attribute.value
        if len(raw) > MAX_UNIT_CHARS:
            return None
        detail = HtmlDetail(attribute.quote or '"', bool(_NBSP.search(raw)))
        text, codes = protect(_SPACE.sub(" ", html.unescape(raw)), detail.escape)
        if not has_prose(text):
            return None
        # the quotes belong to the unit: a value without any gets them
        raw = f"{attribute.quote}{raw}{attribute.quote}"
        start = token.start + len(token.raw[: attribute.start - len(attribute.quote)].encode(self.encoding))
        return Unit(start, start + len(raw.encode(self.encoding)), text, codes, encoding=self.encoding, detail=detail)

    def _add(self, piece: _Piece) -> Iterator[Unit]:
        self.pieces.append(piece)
        self.size += 1 if piece.code else len(piece.raw)
        if self.size > MAX_UNIT_CHARS - MAX_TEXT_CHARS or _is_paragraph_break(self.pieces):
            yield from self.flush()

    def flush(self) -> Iterator[Unit]:
        """End the unit that is being collected."""
        pieces, self.pieces, self.size = self.pieces, [], 0
        first, last = _trim(pieces)
        for piece in pieces[:first]:
            yield from piece.inner
        if first < last:
            yield from self._unit(pieces[first:last])
        for piece in pieces[max(first, last) :]:
            yield from piece.inner

    def _unit(self, pieces: list[_Piece]) -> Iterator[Unit]:
        raw = "".join(p.raw for p in pieces if not p.code)
        detail = HtmlDetail(nbsp=bool(_NBSP.search(raw)))
        first, last = pieces[0], pieces[-1]
        lead = 0 if first.code else len(first.raw) - len(first.raw.lstrip(" \t\r\n\f"))
        trail = 0 if last.code else len(last.raw) - len(last.raw.rstrip(" \t\r\n\f"))
        parts: list[str] = []
        for piece in pieces:
            # a code takes the place of a tag; text on both sides of one keeps its own spaces
            parts.append(Markup(piece.spelling) if piece.code else _SPACE.sub(" ", html.unescape(piece.raw)))
        if lead:
            parts[0] = parts[0][1:]
        if trail:
            parts[-1] = parts[-1][:-1]
        text, codes = protect(_joined(parts), detail.escape)
        inner = [unit for piece in pieces for unit in piece.inner]
        if not has_prose(text):
            yield from inner
            return
        width = len(" ".encode(self.encoding))
        yield from (replace(unit, inside=True) for unit in inner)
        yield Unit(
            first.start + lead * width, last.end - trail * width, text, codes, encoding=self.encoding, detail=detail
        )


def _joined(parts: list[str]) -> list[str]:
    """Text parts that follow one another as one, so that what stands across them is found."""
    joined: list[str] = []
    for part in parts:
        if joined and not isinstance(part, Markup) and not isinstance(joined[-1], Markup):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def _trim(pieces: list[_Piece]) -> tuple[int, int]:
    """The range of pieces without what stands around the text: spaces, lone codes, a pair that encloses all of it."""
    first, last = 0, len(pieces)
    partner = _partners(pieces)
    while first < last:
        if pieces[first].blank or (pieces[first].code and partner.get(first) is None):
            first += 1
        elif pieces[last - 1].blank or (pieces[last - 1].code and partner.get(last - 1) is None):
            last -= 1
        elif pieces[first].code and partner.get(first) == last - 1:
            first, last = first + 1, last - 1
        elif pieces[first].code and _empty(pieces, first, partner[first]):
            first = partner[first] + 1
        elif pieces[last - 1].code and _empty(pieces, partner[last - 1], last - 1):
            last = partner[last - 1]
        else:
            break
    return first, last


def _empty(pieces: list[_Piece], a: int, b: int) -> bool:
    return a < b and all(p.code or p.blank for p in pieces[a : b + 1])


def _partners(pieces: list[_Piece]) -> dict[int, int]:
    """For each tag of a pair, the place of the other."""
    waiting: list[int] = []
    found: dict[int, int] = {}
    for place, piece in enumerate(pieces):
        if piece.kind is Kind.OPEN and piece.name not in VOID:
            waiting.append(place)
        elif piece.kind is Kind.CLOSE:
            match = next((w for w in reversed(waiting) if pieces[w].name == piece.name), None)
            if match is not None:
                found[match], found[place] = place, match
                del waiting[waiting.index(match) :]
    return found


def _is_paragraph_break(pieces: list[_Piece]) -> bool:
    """Whether the pieces end with two line breaks, as pages without paragraphs part theirs."""
    ends = [p for p in pieces[-4:] if not p.blank]
    return len(ends) > 1 and ends[-1].name == ends[-2].name == "br" and pieces[-1].name == "br"
