"""JSON Lines: chosen fields are translated where their strings stand; every other byte is copied."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import BinaryIO

from tradu.documents.codes import protect, reads_like_prose, restore
from tradu.documents.fields import field_units
from tradu.documents.lines import Line
from tradu.documents.model import FormatOptions, Unit
from tradu.documents.reading import Piece, encode, open_text
from tradu.errors import DataError

MAX_DEPTH = 100
_SYMBOL = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_CHARACTER = re.compile(r"\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|\\u[\da-fA-F]{4}|\\.|[^\\]")


class JsonLinesFormat:
    """One JSON value per line; keys are never translated."""

    name = "jsonl"
    extensions = frozenset({".jsonl", ".ndjson"})

    def units(self, stream: BinaryIO, options: FormatOptions) -> Iterator[Unit]:
        """The strings of the chosen fields (`title`, `body.text`, `tags[]`), or every string that reads like prose."""
        decoded = open_text(stream, options.encoding)
        wanted = None if options.fields is None else frozenset(options.fields)
        quick = None if wanted is None else tuple(f'"{f.replace("[]", "").split(".")[-1]}"' for f in wanted)
        for number, piece in enumerate(decoded.lines(), 1):
            if not piece.text.strip():
                continue
            _validate(piece.text, number)
            if quick is None or any(key in piece.text for key in quick) or "\\" in piece.text:
                yield from _line_units(piece, number, wanted, decoded.encoding)

    def places(self, stream: BinaryIO, options: FormatOptions) -> int:
        """String values."""
        lines = enumerate(open_text(stream, options.encoding).lines(), 1)
        return sum(1 for number, piece in lines for _ in _strings(piece.text, number))

    def encode(self, text: str, unit: Unit) -> bytes:
        """The text as part of a JSON string; escaped to ASCII where the original string was."""
        written = restore(text, unit.codes)
        escaping = str(unit.detail)
        literal = json.dumps(written, ensure_ascii="u" in escaping)[1:-1]
        if "/" in escaping:
            literal = literal.replace("/", "\\/")
        try:
            return literal.encode(unit.encoding)
        except UnicodeEncodeError:
            return encode(json.dumps(written)[1:-1], unit.encoding)


def _validate(text: str, number: int) -> None:
    try:
        json.loads(text, parse_int=len)
    except RecursionError:
        raise DataError(f"line {number}: nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise DataError(f"line {number}: not valid JSON ({error})") from None


def _line_units(piece: Piece, number: int, wanted: frozenset[str] | None, encoding: str) -> Iterator[Unit]:
    for path, start, literal in _strings(piece.text, number):
        inner = literal[1:-1]
        if wanted is None:
            if " " not in inner and inner.isascii():
                continue
            if not reads_like_prose(protect(json.loads(literal, strict=False))[0]):
                continue
        elif path not in wanted:
            continue
        before = start + 1 if piece.ascii_only else len(piece.text[: start + 1].encode(encoding))
        yield from _string_units(inner, piece.start + before, encoding)


def _strings(text: str, number: int) -> Iterator[tuple[str, int, str]]:
    """Path, offset and literal of every string value of a line (that is valid JSON)."""
    containers: list[str] = []  # "{" or "["
    paths = [""]
    key, expect_key = "", False
    for match in _SYMBOL.finditer(text):
        symbol = match[0]
        if symbol in "{[":
            inside_list = bool(containers) and containers[-1] == "["
            parent = paths[-1] + ("[]" if inside_list else "")
            paths.append(f"{parent}.{key}" if parent and containers and not inside_list else parent or key)
            containers.append(symbol)
            if len(containers) > MAX_DEPTH:
                raise DataError(f"line {number}: nested deeper than {MAX_DEPTH} levels")
            key, expect_key = "", symbol == "{"
        elif symbol in "}]":
            containers.pop()
            paths.pop()
            expect_key = False
        elif symbol == ",":
            expect_key = containers[-1] == "{"
        elif symbol == ":":
            expect_key = False
        elif symbol.startswith('"'):
            if expect_key:
                key = str(json.loads(symbol, strict=False))
            else:
                yield _path(paths[-1], containers, key), match.start(), symbol


def _path(parent: str, containers: list[str], key: str) -> str:
    if not containers:
        return ""
    if containers[-1] == "[":
        return f"{parent}[]"
    return f"{parent}.{key}" if parent else key


def _string_units(inner: str, start: int, encoding: str) -> Iterator[Unit]:
    escaping = ("u" if re.search(r"\\u(?!00[0-7])", inner) else "") + ("/" if "\\/" in inner else "")
    lines = []
    for spelt, ending in _split(inner):
        if "\\" in spelt:
            tokens = _CHARACTER.findall(spelt)
            lines.append(Line(json.loads(f'"{spelt}"', strict=False), start, encoding, tokens))
        else:
            lines.append(Line(spelt, start, encoding))
        start += len((spelt + ending).encode(encoding))
    yield from field_units(lines, escaping)


def _split(inner: str) -> Iterator[tuple[str, str]]:
    """The lines of a string in its escaped spelling, each with the escapes that end it."""
    if "\\n" not in inner and "\\r" not in inner:
        yield inner, ""
        return
    line: list[str] = []
    tokens = _CHARACTER.findall(inner)
    at = 0
    while at < len(tokens):
        if tokens[at] in ("\\n", "\\r"):
            pair = tokens[at] == "\\r" and tokens[at + 1 : at + 2] == ["\\n"]
            yield "".join(line), "\\r\\n" if pair else tokens[at]
            line, at = [], at + 1 + pair
        else:
            line.append(tokens[at])
            at += 1
    yield "".join(line), ""


FORMAT = JsonLinesFormat()
