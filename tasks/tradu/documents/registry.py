"""Finds the formats: by name, or by what a document's name and first bytes say."""

from __future__ import annotations

import json
import pkgutil
import re
from functools import lru_cache
from importlib import import_module
from pathlib import PurePosixPath

from tradu.documents import formats as _formats
from tradu.documents.model import DocumentFormat
from tradu.documents.reading import find_encoding
from tradu.errors import DataError

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"{\\rtf", "a Rich Text document"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3", "a database"),
)
_KNOWN = {
    ".docx": "a Word document", ".doc": "a Word document", ".xlsx": "an Excel workbook", ".xls": "an Excel workbook",
    ".pptx": "a PowerPoint presentation", ".odt": "an OpenDocument text", ".ods": "an OpenDocument spreadsheet",
    ".epub": "an e-book", ".pdf": "a PDF", ".po": "a gettext catalogue", ".xlf": "an XLIFF file",
    ".xliff": "an XLIFF file", ".srt": "a subtitle file", ".vtt": "a subtitle file", ".tmx": "a translation memory",
    ".xml": "an XML document", ".json": "a JSON document", ".yaml": "a YAML document", ".yml": "a YAML document",
    ".rtf": "a Rich Text document", ".eml": "an e-mail", ".zip": "a ZIP archive",
}  # fmt: skip
_HTML = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_CONTROL = re.compile(r"[\x01-\x08\x0b\x0e-\x1a\x1c-\x1f]")


@lru_cache(maxsize=1)
def formats() -> dict[str, DocumentFormat]:
    """Every format by name: a module of `tradu.documents.formats` names its FORMAT, or several FORMATS."""
    found: list[DocumentFormat] = []
    for module in sorted(pkgutil.iter_modules(_formats.__path__), key=lambda m: m.name):
        loaded = import_module(f"{_formats.__name__}.{module.name}")
        found.extend(getattr(loaded, "FORMATS", None) or [loaded.FORMAT])
    return {f.name: f for f in found}


def format_named(name: str) -> DocumentFormat:
    """The format of that name.

    Raises:
        DataError: there is none.
    """
    try:
        return formats()[name]
    except KeyError:
        raise DataError(f"{name!r} is not a format of this version; supported: {', '.join(formats())}") from None


def detect_format(name: str, head: bytes) -> DocumentFormat:
    """The format of a document, from its name and its first bytes (some thousands).

    Raises:
        DataError: it is empty, binary, or of a format that can't be translated yet.
    """
    if not head:
        raise DataError(f"{name}: the file is empty")
    suffix = PurePosixPath(name.replace("\\", "/")).suffix.lower()
    kind = next((what for magic, what in _MAGIC if head.startswith(magic)), None)
    if kind or (suffix in _KNOWN):
        raise _unsupported(name, _KNOWN.get(suffix, kind or "this"))
    try:
        encoding = find_encoding(head)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    text = head[encoding.bom_bytes :].decode(encoding.name, "replace")
    if "\0" in text or len(_CONTROL.findall(text)) * 20 > len(text):
        raise _unsupported(name, "a binary file")
    for candidate in formats().values():
        if suffix in candidate.extensions:
            return candidate
    if suffix and re.fullmatch(r"\.[a-z]\w{0,9}", suffix):
        raise _unsupported(name, f"a {suffix} file")
    return format_named(_by_content(text))


def _by_content(text: str) -> str:
    """The format of a document without an extension."""
    if _HTML.match(text):
        return "html"
    try:
        first = json.loads(text.lstrip().split("\n", 1)[0])
    except (ValueError, RecursionError):
        return "text"
    return "jsonl" if isinstance(first, dict) else "text"


def _unsupported(name: str, what: str) -> DataError:
    extensions = sorted(e for f in formats().values() for e in f.extensions)
    return DataError(f"{name}: {what} can't be translated yet; supported: {', '.join(extensions)}")
