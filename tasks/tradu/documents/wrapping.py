"""Breaks a translated paragraph into lines of the original's width, so that it reads back as the same paragraph."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SINGLE_SPACE = re.compile(r"(?<! ) (?! )")
_MAY_START = re.compile(r"[\"'“‘«(\[]*[^\W_]")
_MARKER = re.compile(r"[\"'“‘«(\[]*\w{1,9}[.)]+\Z|\S*:\Z|\S+::")


@dataclass(frozen=True, slots=True)
class Wrap:
    """How a wrapped paragraph was laid out."""

    width: int
    """Characters in its longest line."""
    lead: int
    """Characters before its text in the first line (indentation, list marker)."""
    prefix: str
    """What each further line begins with."""
    newline: str = "\n"


def chunks(text: str) -> Iterator[str]:
    """The pieces a line may be broken between: words, joined to the one before where they would look like markup.

    A word joins where a line that starts with it would be taken for a list item, a rule or a heading, and where it
    follows a hyphen (a break there is read back without a space).
    """
    chunk = ""
    for word in _SINGLE_SPACE.split(text):
        if not chunk:
            chunk = word
        elif _MAY_START.match(word) and not _MARKER.match(word) and not chunk.endswith("-"):
            yield chunk
            chunk = word
        else:
            chunk += f" {word}"
    if chunk:
        yield chunk


def wrap(text: str, layout: Wrap) -> str:
    """The text broken into lines of at most the layout's width where that is possible."""
    broken, lead = [], layout.lead
    for line in text.split("\n"):  # breaks that the text itself has
        broken.append(_wrap_line(line, layout, lead))
        lead = len(layout.prefix)
    return f"\n{layout.prefix}".join(broken).replace("\n", layout.newline)


def _wrap_line(text: str, layout: Wrap, lead: int) -> str:
    lines, line, room = [], "", layout.width - lead
    for chunk in chunks(text):
        if line and len(line) + 1 + len(chunk) > room:
            lines.append(line)
            line, room = chunk, layout.width - len(layout.prefix)
        else:
            line = f"{line} {chunk}" if line else chunk
    lines.append(line)
    return f"\n{layout.prefix}".join(lines)
