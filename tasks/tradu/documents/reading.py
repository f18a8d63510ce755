"""Reads a document's bytes as text: encoding found, byte offsets kept, never more than a chunk in memory."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from charset_normalizer import from_bytes

from tradu.errors import DataError

CHUNK_BYTES = 256 * 1024
HEAD_BYTES = 64 * 1024
MAX_LINE_CHARS = 16 * 1024 * 1024
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: it begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FIXED_WIDTH = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}
# decoding these gives other bytes when encoded again, or leaves offsets unclear
_STATEFUL = re.compile(r"iso2022|utf_7|hz|punycode|idna|escape|base64|hex|rot|quopri|uu|zlib|bz2")


@dataclass(frozen=True, slots=True)
class Encoding:
    """Name of the codec, and how many bytes of byte-order mark stand before the text."""

    name: str
    bom_bytes: int = 0


def find_encoding(head: bytes, asked: str | None = None) -> Encoding:
    """The encoding of a document from its first bytes; `asked` is believed where there is no byte-order mark.

    Raises:
        DataError: `asked` is not known, or none can be found.
    """
    for bom, name in _BOMS:
        if head.startswith(bom):
            return Encoding(name, len(bom))
    if asked:
        return Encoding(_codec(asked))
    if _decodes(head, "utf-8"):
        return Encoding("utf-8")
    best = from_bytes(head).best()
    if best is None:
        raise DataError("the character encoding can't be found: name it (option `encoding`) or convert it to UTF-8")
    return Encoding(_codec(best.encoding))


def _codec(name: str) -> str:
    try:
        info = codecs.lookup(name)
    except LookupError:
        raise DataError(f"{name!r} is not a known character encoding: use one like utf-8, cp1252, shift_jis") from None
    if not getattr(info, "_is_text_encoding", True) or _STATEFUL.search(info.name.replace("-", "_")):
        raise DataError(f"documents in {name} can't be translated in place: convert them to UTF-8")
    return _FIXED_WIDTH.get(info.name, info.name)


def _decodes(head: bytes, name: str) -> bool:
    try:
        codecs.getincrementaldecoder(name)().decode(head)
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Piece:
    """Decoded text that starts at byte `start`; `ascii_only`: one byte is one character."""

    text: str
    start: int
    ascii_only: bool


@dataclass(frozen=True, slots=True)
class Decoded:
    """A document opened for reading: its encoding, its first bytes, and what follows."""

    encoding: str
    bom_bytes: int
    head: bytes
    stream: BinaryIO

    def pieces(self) -> Iterator[Piece]:
        """The text, chunk by chunk.

        Raises:
            DataError: bytes that are not text in the document's encoding.
        """
        decoder = codecs.getincrementaldecoder(self.encoding)()
        narrow = self.encoding not in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
        chunk, start, read = self.head[self.bom_bytes :], self.bom_bytes, self.bom_bytes
        while True:
            more = self.stream.read(CHUNK_BYTES)
            text = self._decode(decoder, chunk, read, final=not more)
            ascii_only = narrow and text.isascii()
            if text:
                yield Piece(text, start, ascii_only)
            start += len(text) if ascii_only else self._size(text, read)
            read += len(chunk)
            pending = len(decoder.getstate()[0])
            if start != read - pending:
                raise DataError(
                    f"near byte {read}: {self.encoding} here doesn't give the same bytes back; convert it to UTF-8"
                )
            if not more:
                return
            chunk = more

    def _decode(self, decoder: codecs.IncrementalDecoder, chunk: bytes, read: int, *, final: bool) -> str:
        try:
            text = decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            raise DataError(
                f"near byte {read + error.start}: not valid {self.encoding} ({error.reason}); "
                "name the encoding (option `encoding`) or mend the file"
            ) from None
        if "\0" in text:
            raise DataError(f"near byte {read}: NUL characters, so this is not a text document")
        return text

    def _size(self, text: str, read: int) -> int:
        try:
            return len(text.encode(self.encoding))
        except UnicodeEncodeError as error:
            raise DataError(f"near byte {read}: not valid {self.encoding} ({error.reason})") from None

    def lines(self) -> Iterator[Piece]:
        """The lines with their endings (LF, CRLF or CR, also mixed).

        Raises:
            DataError: a line is longer than 16 million characters, or as in `pieces`.
        """
        rest, rest_start, rest_ascii = "", self.bom_bytes, True
        for piece in self.pieces():
            text, start, ascii_only = rest + piece.text, piece.start, rest_ascii and piece.ascii_only
            if rest:
                start = rest_start
            lines = list(io.StringIO(text, newline=""))
            # the last line may go on, and a CR at the very end may be half of a CRLF
            rest = lines.pop() if lines else ""
            for line in lines:
                yield Piece(line, start, ascii_only)
                start += len(line) if ascii_only else len(line.encode(self.encoding))
            rest_start, rest_ascii = start, ascii_only
            if len(rest) > MAX_LINE_CHARS:
                raise DataError(f"near byte {start}: a line of more than {MAX_LINE_CHARS:,} characters")
        # a chunk boundary can only have split the last line; what is left is at most two lines
        for line in io.StringIO(rest, newline=""):
            yield Piece(line, rest_start, rest_ascii)
            rest_start += len(line.encode(self.encoding))


def open_text(stream: BinaryIO, asked: str | None, declared: re.Pattern[bytes] | None = None) -> Decoded:
    """Open a document for reading as text; `declared` finds an encoding that the document itself names.

    Raises:
        DataError: the encoding can't be found.
    """
    head = b""
    while len(head) < HEAD_BYTES and (more := stream.read(HEAD_BYTES - len(head))):
        head += more
    if not asked and declared and (match := declared.search(head[:4096])):
        name = match[1].decode("ascii", "replace")
        try:
            asked = _codec(name) if _decodes(head, _codec(name)) else None
        except DataError:
            asked = None
        if asked and asked.startswith(("utf-16", "utf-32")):  # a wrong label: the head was read as ASCII
            asked = None
    encoding = find_encoding(head, asked)
    return Decoded(encoding.name, encoding.bom_bytes, head, stream)


def encode(text: str, encoding: str) -> bytes:
    """The text in the document's encoding.

    Raises:
        DataError: the encoding has no such character.
    """
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        raise DataError(
            f"{text[error.start : error.end]!r} can't be written in {encoding}: convert the document to UTF-8 first"
        ) from None
