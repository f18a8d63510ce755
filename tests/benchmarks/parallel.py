"""Real English with human Portuguese: gettext catalogues of packages on PyPI (BSD, Apache-2.0), fetched on demand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polib

PACKAGES = ("django", "wagtail", "apache-superset")
LEAST_WORDS, MOST_WORDS = 5, 60


def fetch(folder: Path, *more: str) -> None:
    """Unpack the packages, and more of the kind, into a folder, without what they depend on."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*command, *PACKAGES, *more], check=True)


def pairs(folder: Path, language: str = "pt_BR") -> list[tuple[str, str]]:
    """Distinct (English, human translation), without fuzzy, obsolete and plural entries, placeholders and markup."""
    found: dict[str, str] = {}
    for catalogue in _catalogues(folder, language):
        read = polib.pofile if catalogue.suffix == ".po" else polib.mofile
        for entry in read(str(catalogue)):
            text = entry.msgid
            # a compiled catalogue has neither fuzzy nor obsolete entries
            doubtful = isinstance(entry, polib.POEntry) and (entry.fuzzy or entry.obsolete)
            usable = text and entry.msgstr and not (doubtful or entry.msgid_plural)
            if (
                usable
                and text[0].isalpha()
                and LEAST_WORDS <= len(text.split()) <= MOST_WORDS
                and not set(text) & set("%{}<>\n|`\\")
            ):
                found.setdefault(text, entry.msgstr)
    return sorted(found.items())


def _catalogues(folder: Path, language: str) -> list[Path]:
    """The catalogues as their translators wrote them, and the compiled ones of which that is not there."""
    written = sorted(folder.rglob(f"{language}/LC_MESSAGES/*.po"))
    compiled = sorted(folder.rglob(f"{language}/LC_MESSAGES/*.mo"))
    return [*written, *(path for path in compiled if not path.with_suffix(".po").exists())]
