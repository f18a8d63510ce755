"""A line of a document: its text, and where each character of it stands in the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """Text without its line ending. `spelling` is given where the document writes characters in escaped form."""

    text: str
    start: int
    encoding: str
    spelling: Sequence[str] | None = None
    """The original spelling of each character of `text`."""

    def byte_at(self, column: int) -> int:
        """Offset in the document of the character at `column`."""
        if self.spelling is not None:
            return self.start + len("".join(self.spelling[:column]).encode(self.encoding))
        return self.start + len(self.text[:column].encode(self.encoding))
