"""Cuts HTML into tags, comments and text, streaming and without losing a byte."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from tradu.documents.reading import Decoded

LOOK_AHEAD_CHARS = 64 * 1024
MAX_TEXT_CHARS = 2_000
"""Longer text comes as several tokens."""
_OTHER = re.compile(r"<!--(?:>|->|.*?--!?>)|<!\[CDATA\[.*?\]\]>|<\?.*?\?>|<[!?][^>]*+>|<%.*?%>", re.DOTALL)
_TAG = re.compile(r"""<(/?)([A-Za-z][^\s/>]*+)((?:[^>"'<]++|"[^"]*+"|'[^']*+')*)>""")
_LOOSE_TAG = re.compile(r"<(/?)([A-Za-z][^\s/>]*+)([^<>]*+)>")
_OPENS = re.compile(r"<[!?%/A-Za-z]")
_TEXT = re.compile(r"[^<]++")
_ATTRIBUTE = re.compile(r"""([^\s"'<>/=]+)(?:\s*=\s*("[^"]*+"|'[^']*+'|[^\s"'=<>`]++))?""")
RAW_TEXT = frozenset({"script", "style", "textarea", "xmp", "iframe", "noembed", "noframes", "plaintext"})


class Kind(Enum):
    """What a token is."""

    TEXT = auto()
    OPEN = auto()
    CLOSE = auto()
    OTHER = auto()
    """Comment, declaration, processing instruction, CDATA."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token with its spelling; `start` and `end` are byte offsets."""

    kind: Kind
    raw: str
    start: int
    end: int
    name: str = ""
    """Lower-case name of a tag."""
    attributes: str = ""
    """The tag's attributes in their spelling."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute and where its value (without quotes) stands in the tag's spelling."""

    name: str
    value: str
    start: int
    quote: str


def attributes(token: Token) -> list[Attribute]:
    """The attributes of a tag that have a value."""
    offset = token.raw.index(token.attributes, 1 + len(token.name)) if token.attributes else 0
    found = []
    for match in _ATTRIBUTE.finditer(token.attributes):
        value = match[2]
        if value is None:
            continue
        quote = value[0] if value[0] in "\"'" else ""
        inner = value[1:-1] if quote else value
        found.append(Attribute(match[1].lower(), inner, offset + match.start(2) + len(quote), quote))
    return found


class _Buffer:
    """The part of the document that is looked at."""

    def __init__(self, decoded: Decoded) -> None:
        self._pieces, self._encoding = decoded.pieces(), decoded.encoding
        self.text, self.at, self.byte, self.ended = "", 0, decoded.bom_bytes, False

    def more(self) -> bool:
        """Read on; False at the end of the document."""
        piece = next(self._pieces, None)
        if piece is None:
            self.ended = True
            return False
        self.text, self.at = self.text[self.at :] + piece.text, 0
        return True

    def take(self, length: int) -> tuple[str, int, int]:
        """The next characters, and the byte offsets of their start and end."""
        raw = self.text[self.at : self.at + length]
        start = self.byte
        self.byte += len(raw) if raw.isascii() and self._encoding == "utf-8" else len(raw.encode(self._encoding))
        self.at += length
        return raw, start, self.byte

    @property
    def left(self) -> int:
        return len(self.text) - self.at


def tokens(decoded: Decoded) -> Iterator[Token]:
    """The document's tokens; the text of script, style and the like comes as one OTHER token or several."""
    buffer = _Buffer(decoded)
    while True:
        if not buffer.left and not buffer.more():
            return
        token = _next(buffer)
        yield token
        if token.kind is Kind.OPEN and token.name in RAW_TEXT and not token.raw.endswith("/>"):
            yield from _raw_text(buffer, token.name)


def _next(buffer: _Buffer) -> Token:
    if buffer.text[buffer.at] != "<":
        return _text(buffer)
    while True:
        match, kind = _match(buffer)
        if match:
            raw, start, end = buffer.take(match.end() - match.start())
            if kind is Kind.OTHER:
                return Token(kind, raw, start, end)
            return Token(kind, raw, start, end, match[2].lower(), match[3])
        if buffer.left > LOOK_AHEAD_CHARS or not buffer.more():
            break
    # nothing ends what `<` begins: a tag with an odd quote, or a plain less-than sign
    loose = _LOOSE_TAG.match(buffer.text, buffer.at)
    if loose:
        raw, start, end = buffer.take(loose.end() - loose.start())
        return Token(Kind.OTHER, raw, start, end)
    if _OPENS.match(buffer.text, buffer.at) and buffer.ended:
        raw, start, end = buffer.take(buffer.left)
        return Token(Kind.OTHER, raw, start, end)
    raw, start, end = buffer.take(1)
    return Token(Kind.TEXT, raw, start, end)


def _match(buffer: _Buffer) -> tuple[re.Match[str] | None, Kind]:
    if match := _TAG.match(buffer.text, buffer.at):
        return match, Kind.CLOSE if match[1] else Kind.OPEN
    return _OTHER.match(buffer.text, buffer.at), Kind.OTHER


def _text(buffer: _Buffer) -> Token:
    while buffer.left < MAX_TEXT_CHARS and "<" not in buffer.text[buffer.at :] and buffer.more():
        pass
    match = _TEXT.match(buffer.text, buffer.at, buffer.at + MAX_TEXT_CHARS)
    length = match.end() - match.start() if match else 1
    if length == MAX_TEXT_CHARS:  # don't cut inside an entity or a word
        space = buffer.text.rfind(" ", buffer.at, buffer.at + length)
        length = space - buffer.at + 1 if space > buffer.at else length
    raw, start, end = buffer.take(length)
    return Token(Kind.TEXT, raw, start, end)


def _raw_text(buffer: _Buffer, name: str) -> Iterator[Token]:
    """What stands up to the closing tag of an element without markup inside."""
    closing = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE)
    while True:
        match = closing.search(buffer.text, buffer.at)
        # keep back what may be the beginning of the closing tag
        length = match.start() - buffer.at if match else max(0, buffer.left - len(name) - 3)
        if not match and buffer.ended:
            length = buffer.left
        if length:
            raw, start, end = buffer.take(length)
            yield Token(Kind.OTHER, raw, start, end)
        if match or (not buffer.more() and not buffer.left):
            return
