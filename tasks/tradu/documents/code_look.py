"""Tells a block of program code, grammar or a table from a block of prose, line by line."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CODE_LINE = re.compile(
    r"""\s*(?:
      >>>|\.\.\.\s|\$\s|\#!|//|/\*|\*/|<\?|\#include|@\w+(?:\.\w+)*(?:\(.*)?$       # prompts, comments, decorators
    | (?:async\s+)?(?:def|class)\s+\w+.*:(?:\s*\.\.\.)?(?:\s*\#.*)?$
    | (?:if|elif|while|with|except|case|match|for)\b.*[\w)\]"']:\s*(?:\#.*)?$(?<![a-z]{5}\s[a-z]{4}:)
    | async\s+(?:for|with)\s | with\s*\($
    | (?:else|try|finally):(?:\s.*)?$ | (?:pass|break|continue|return)$
    | (?:import|from)\s+[\w.]+(?:\s+(?:import|as)\s+[\w.,\s*]+)?$
    | (?:raise|return|yield|del|assert|global|nonlocal|print|await)\s+[\w.(\[{"'-][^ ]*(?:\s[^ ]+){0,4}$(?<![.!?])
    | [\w.\[\]"',*()\ ]*[\w\])]\s(?:[-+*/%&|^@]|//|\*\*|<<|>>|:)?=\s\S
    | \w+=\S+$
    | [\w.]+\(.*\)(?:\s*\#.*)?$
    | .*[;{}]\s*(?://.*)?$ | [}\])]+[,;]*\s*$
    | [\"']?[\w.-]+[\"']?\s*:\s*[\[{"'\d].*$
    )""",
    re.VERBOSE,
)
_GRAMMAR = re.compile(r"::=|^\s*\|\s|->\s*\w+:$")
_SYMBOL = re.compile(r"[=<>{}\[\];|&^$\\_+%@~]|(?<=\s)[*/](?=\s)")
_LETTER = re.compile(r"[^\W\d_]")
_RULE = re.compile(r"\s*(?:([-=*~^#+_.:\"'`])\1*)?\s*$")
_WORD = re.compile(r"(?<![\w.])[^\W\d_]{2,}(?![\w(\[=])")


def looks_like_code(lines: Sequence[str], *, introduced: bool = False) -> bool:
    """Whether lines without a blank one between them are code: most look so, or any is grammar.

    `introduced`: the block is indented and the one before ended with a colon, so less evidence is enough.
    """
    written = [line for line in lines if _LETTER.search(line) or not _RULE.match(line)]
    if any("::=" in line for line in written):
        return True
    code = sum(1 for line in written if _is_code(line))
    if any(_is_sentence(line) for line in written):
        return code * 2 > len(written)
    return code > 0 and (introduced or code * 2 >= len(written))


def _is_sentence(line: str) -> bool:
    words = len(_WORD.findall(line))
    solid = sum(1 for c in line if not c.isspace())
    return words >= 7 and len(_SYMBOL.findall(line)) * 10 < solid


def _is_code(line: str) -> bool:
    if _is_sentence(line):
        return False
    if _GRAMMAR.search(line) or _CODE_LINE.match(line):
        return True
    solid = sum(1 for c in line if not c.isspace())
    return len(_SYMBOL.findall(line)) * 8 > solid and len(_WORD.findall(line)) < 8
