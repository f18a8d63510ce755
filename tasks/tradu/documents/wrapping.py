"""Breaks a translated paragraph into lines of the original's width, so that it reads back as the same paragraph."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SINGLE_SPACE = re.compile(r"(?<! ) (?! )")
_STARTS_SOMETHING = re.compile(
    r"[^\w\s]*\Z|_+\Z"  # symbols alone: bullets, rules, underlines
    r"|[>|<#@:=+~]|\.\.|//|/\*|```|\$\Z|>>>"  # quotes, tables, tags, headings, comments, fences, prompts
    r"|\(?(?:\d{1,9}|[^\W\d_]|[ivxIVX]{1,5})[.)]\Z|\S*::|\[[^\]]*\]:"  # list items, directives, footnotes
)
NARROWEST_CHARS = 45
"""Text in shorter lines is not taken for a wrapped paragraph."""


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


def may_start_line(word: str) -> bool:
    """Whether a line that starts with this word still goes on with the paragraph."""
    return not _STARTS_SOMETHING.match(word)


def chunks(text: str) -> Iterator[str]:
    """The pieces a line may be broken between: words, joined to the one before where they would look like markup.

    A word joins where a line that starts with it would be taken for a list item, a rule or a heading, and where it
    follows a hyphen (a break there is read back without a space).
    """
    chunk = ""
    for word in _SINGLE_SPACE.split(text):
        if not chunk:
            chunk = word
        elif may_start_line(word) and not chunk.endswith("-"):
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
    written = f"\n{layout.prefix}".join(broken)
    if "\n" not in text and layout.lead + max(map(len, written.split("\n"))) < NARROWEST_CHARS:
        return text  # long words left the lines so short that nobody would see a wrapped paragraph in them
    return written.replace("\n", layout.newline)


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
