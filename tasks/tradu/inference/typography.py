"""Typographic characters: straightened before a model that was not trained on them, and put back after."""

from __future__ import annotations

import re
import unicodedata

_SPACES = re.compile(r"[^\S\n]+|\s*\n\s*")
_STRAIGHT = str.maketrans("“”„‟‘’‚‛‐‑−", "\"\"\"\"''''---")
_LEAD = re.compile(r"[^\w]*")
_DASH = re.compile(r"\s*[–—―]\s*")


def straighten(text: str) -> str:
    """Plain quotes, dots, dashes and spaces, in composed form (NFC)."""
    text = unicodedata.normalize("NFC", text).translate(_STRAIGHT).replace("…", "...")
    return _SPACES.sub(" ", _DASH.sub(_plain_dash, text))


def _plain_dash(match: re.Match[str]) -> str:
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    return "-" if before.isdigit() and after.isdigit() else " - "


def dress(translated: str, source: str) -> str:
    """Give a translation the typography of its source, where the source uses one style alone."""
    if "…" in source and "..." not in source:
        translated = translated.replace("...", "…")
    if re.search("[“”„‟]", source) and '"' not in source:
        translated = _curl(translated, '"', "“", "”")
    if re.search("[‘’‚‛]", source) and "'" not in source:
        translated = _curl(translated, "'", "‘", "’")
    return _dashes(translated, source)


def match_case(translated: str, source: str) -> str:
    """A translation that begins with a capital where its source does, and with a small letter where its source does."""
    at = _LEAD.match(source).end()  # type: ignore[union-attr]  # the pattern matches the empty text too
    if translated[:at] != source[:at]:
        return translated
    first, begun, rest = source[at : at + 1], translated[: at + 1], translated[at + 1 :]
    if first.isupper():
        return begun.upper() + rest
    return begun.lower() + rest if first.islower() and not rest[:1].isupper() else translated


def _curl(text: str, straight: str, opening: str, closing: str) -> str:
    """Opening quotes at the start of words, closing ones elsewhere."""

    def curl(match: re.Match[str]) -> str:
        before, after = text[: match.start()][-1:], text[match.end() :][:1]
        opens = (not before or before.isspace() or before in "([{/-—–") and bool(after.strip())
        return opening if opens else closing

    return re.sub(re.escape(straight), curl, text)


def _dashes(translated: str, source: str) -> str:
    dash = re.search("[–—―]", source)
    if not dash:
        return translated
    if re.search(r"\d[–—―]\d", source) and not re.search(r"\d-\d", source):
        translated = re.sub(r"(?<=\d)-(?=\d)", dash[0], translated)
    if " - " in source:
        return translated
    spaced = re.search(r"\s[–—―]|[–—―]\s", source)
    return translated.replace(" - ", f" {dash[0]} " if spaced else dash[0])
