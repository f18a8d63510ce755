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
    for catalogue in sorted(folder.rglob(f"{language}/LC_MESSAGES/*.po")):
        for entry in polib.pofile(str(catalogue)):
            text = entry.msgid
            usable = entry.translated() and not (entry.fuzzy or entry.obsolete or entry.msgid_plural)
            if (
                usable
                and text[0].isalpha()
                and LEAST_WORDS <= len(text.split()) <= MOST_WORDS
                and not set(text) & set("%{}<>\n|`\\")
            ):
                found.setdefault(text, entry.msgstr)
    return sorted(found.items())
