"""What every document format gives the line: units of text with their place in the original bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, runtime_checkable

CODE_BASE = 0xE000
"""Inline codes stand in a text as one private-use character each: code number i is chr(CODE_BASE + i)."""
MAX_CODES = 0x1900
"""Size of the private-use area U+E000..U+F8FF, and so the most codes one unit may hold."""
MAX_UNIT_CHARS = 6_000
"""A longer paragraph is cut into several units; less than MAX_CODES, so codes can't run out."""
SLOT = "\0"
"""Stands in a code where another unit's text goes (an `alt` inside an image that is itself a code)."""


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """What a job may say about its documents. None: the format decides by itself."""

    columns: tuple[str, ...] | None = None
    """CSV/TSV: the columns to translate, by header name or by 1-based number."""
    fields: tuple[str, ...] | None = None
    """JSON Lines: the fields to translate, dotted paths (`title`, `body.text`, `tags[]`)."""
    encoding: str | None = None
    """Character encoding of the document, where detection is wrong."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A stretch of translatable text: a paragraph, a heading, a table cell, a field.

    `text` is decoded and unescaped; everything in it that is not prose (markup, code, URLs, placeholders) is one
    private-use character, whose spelling in the document is in `codes` at the same index, in order of appearance.
    """

    start: int
    """Offset of the first byte of the unit in the original document."""
    end: int
    """Offset one past the last byte."""
    text: str
    codes: tuple[str, ...] = ()
    inside: bool = False
    """It lies in a code of the next unit that is not inside one itself, and fills that one's next slot."""
    encoding: str = "utf-8"
    """Character encoding of the document."""
    detail: object = field(default=None, compare=False)
    """What the format itself needs to write the unit back (quoting, line width, prefix of continuation lines)."""


@runtime_checkable
class DocumentFormat(Protocol):
    """A document format. One module per format in `tradu.documents.formats`, which names its instance FORMAT.

    The law (tests/unit/documents/conformance.py): merging with unchanged text gives the identical bytes; extract,
    pseudo-translate, merge, extract gives the same units and codes. Original bytes outside units are never touched.
    """

    @property
    def name(self) -> str:
        """Short name, as stored in the ledger."""
        ...

    @property
    def extensions(self) -> frozenset[str]:
        """File extensions, lower-case, with the dot."""
        ...

    def units(self, stream: BinaryIO, options: FormatOptions) -> Iterator[Unit]:
        """Units in document order, reading the stream once and holding no more than a part of it.

        Units don't overlap, but for those that fill the slots of the unit right after them.

        Raises:
            DataError: the document is not of this format, or over its limits.
        """
        ...

    def places(self, stream: BinaryIO, options: FormatOptions) -> int:
        """How many places for text the document's syntax has (cells, strings, paragraphs), whatever stands in them.

        A translation may not change it. 0 where no syntax parts them: in plain text paragraphs, lists and tables are
        told by their look, which a translation may change without harm.
        """
        ...

    def encode(self, text: str, unit: Unit) -> bytes:
        """The bytes that replace the unit, for a translated `text` that carries the unit's codes.

        Raises:
            DataError: the document's encoding has no such character.
        """
        ...
