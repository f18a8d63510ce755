"""Cuts the inside of a Markdown paragraph into prose and markup."""

from __future__ import annotations

import re
from collections.abc import Collection

from tradu.documents.codes import Markup

_MARKUP = re.compile(
    r"""
      (?P<hard>(?:[ ]{2,}|\\)\n)
    | (?P<escape>\\[!-/:-@\[-`{-~])
    | (?P<code>(?<!`)(?P<ticks>`+)(?!`)(?:.+?)(?<!`)(?P=ticks)(?!`))
    | (?P<element><(?P<name>code|kbd|samp|var|script|style|svg)\b[^>]*>.*?</(?P=name)\s*>)
    | (?P<html><!--.*?-->|</?[A-Za-z][^<>]*>|<[!?][^>]*>)
    | (?P<url>(?:https?|ftp)://[^\s<>\]()]+(?:\([^\s<>\]()]*\)[^\s<>\]()]*)*)
    | (?P<entity>&(?:\#\d{1,7}|\#[xX][\da-fA-F]{1,6}|[A-Za-z]\w{1,30});)
    | (?P<note>\[\^[^\]\s]+\])
    | (?P<target>\]\(\s*(?:<[^<>\n]*>|[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)(?:\s+(?:"[^"]*"|'[^']*'|\([^()]*\)))?\s*\))
    | (?P<reference>\]\[(?P<label>[^\]\n]*)\])
    | (?P<attributes>(?<=[)\]`])\{[:.\#][^{}\n]*\})
    | (?P<bracket>!?\[)
    | (?P<close>\])
    | (?P<emphasis>\*+|~~+|(?<![^\W_])_+|_+(?![^\W_]))
    | (?P<math>\$\$.+?\$\$)
    | (?P<lone>[\\`|<>])
    """,
    re.VERBOSE | re.DOTALL,
)
_MEANS_SOMETHING = re.compile(r"[\\`*\[\]<>|]|(?<![^\W_])_|_(?![^\W_])|~~")
_BLOCK_START = re.compile(r"(\d{1,9})([.)])(?=\s|\Z)|([#+=-])(?=[\s#=-]|\Z)|(:)(?=[-|])")


def label_of(text: str) -> str:
    """A link label as it is compared."""
    return " ".join(text.split()).casefold()


def parts(content: str, labels: Collection[str]) -> list[str]:
    """Prose and markup of a paragraph, heading or cell (lines without their block's prefix).

    `labels` are those of the document's link references: a link by its text alone (`[text]`) gets its label written
    out, so that it still leads there when the text is translated.
    """
    found: list[str] = []
    end = 0
    opened: list[int] = []
    for match in _MARKUP.finditer(content):
        if match.start() > end:
            found.append(_spaces(content[end : match.start()]))
        spelling = match[0]
        if match["bracket"]:
            opened.append(match.end())
        elif match["target"] or match["close"] or match["reference"]:
            begin = opened.pop() if opened else None
            label = content[begin : match.start()] if begin is not None else None
            bare = match["close"] or (match["reference"] and not match["label"])
            if label is not None and bare and label_of(label) in labels:
                spelling = f"][{' '.join(label.split())}]"
        found.append(Markup(spelling))
        end = match.end()
    if end < len(content):
        found.append(_spaces(content[end:]))
    return found


def _spaces(text: str) -> str:
    return re.sub(r"[ \t]*\n[ \t]*|[ \t]+", " ", text)


def escape(text: str) -> str:
    """Prose as Markdown: characters that would mean something get a backslash."""
    return _MEANS_SOMETHING.sub(lambda m: "".join(f"\\{c}" for c in m[0]), text)


def escape_start(text: str) -> str:
    """A paragraph whose first word would make it a list item or a heading gets a backslash."""
    match = _BLOCK_START.match(text)
    if not match:
        return text
    at = match.start(2) if match[1] else 0
    return f"{text[:at]}\\{text[at:]}"
