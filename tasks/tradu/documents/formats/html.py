"""HTML: text between block elements, and attributes that people read; every other byte is copied."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from tradu.documents.codes import restore
from tradu.documents.html_units import HtmlDetail, UnitCollector
from tradu.documents.model import FormatOptions, Unit
from tradu.documents.reading import open_text
from tradu.documents.tags import tokens

_DECLARED = re.compile(
    rb"<(?:meta[^>]*?charset\s*=\s*[\"']?\s*|\?xml[^>]*?encoding\s*=\s*[\"'])([\w.:-]+)", re.IGNORECASE
)


class HtmlFormat:
    """HTML and XHTML, well-formed or not."""

    name = "html"
    extensions = frozenset({".html", ".htm", ".xhtml"})

    def units(self, stream: BinaryIO, options: FormatOptions) -> Iterator[Unit]:
        """Paragraphs, cells, headings and the like, and readable attributes."""
        decoded = open_text(stream, options.encoding, _DECLARED)
        collector = UnitCollector(decoded.encoding)
        for token in tokens(decoded):
            yield from collector.take(token)
        yield from collector.flush()

    def places(self, stream: BinaryIO, options: FormatOptions) -> int:
        """Paragraphs, headings, cells and attributes with text."""
        return sum(1 for _ in self.units(stream, options))

    def encode(self, text: str, unit: Unit) -> bytes:
        """The text, escaped; a character that the document's encoding lacks becomes a numeric entity."""
        detail = unit.detail if isinstance(unit.detail, HtmlDetail) else HtmlDetail()
        written = f"{detail.quote}{restore(text, unit.codes, detail.escape)}{detail.quote}"
        return written.encode(unit.encoding, "xmlcharrefreplace")


FORMAT = HtmlFormat()
