"""Where Apertium lies: installed on the machine, or unpacked into Tradu's home by a user without root."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tradu.errors import ModelError

PACKAGES = (
    "apertium",
    "apertium-eng-spa",
    "apertium-es-pt",
    "apertium-spa-cat",
    "apertium-fr-es",
    "apertium-eng-cat",
)
_MODES = "usr/share/apertium/modes"


@dataclass(frozen=True, slots=True)
class Installation:
    """A tree in which the packages of Apertium are unpacked; `/` where the machine has them."""

    root: Path

    def mode_file(self, mode: str) -> Path | None:
        """The pipeline of a mode such as `eng-spa`; None: it isn't there, or can't be run."""
        file = self.root / _MODES / f"{mode}.mode"
        return file if file.is_file() and self.program("lt-proc") else None

    def program(self, name: str) -> str | None:
        """Full path of a program."""
        return shutil.which(name, path=self._path())

    def environment(self) -> Mapping[str, str]:
        """The environment its programs run in: a locale that reads UTF-8, and the tree's own libraries."""
        kept = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
        env = {"LC_ALL": "C.UTF-8", "PATH": self._path(), **kept}
        if self.root != Path("/"):
            libraries = {str(file.parent) for file in self.root.glob("usr/lib/**/*.so*")}
            libraries |= {str(file.parent) for file in self.root.glob("lib/**/*.so*")}
            env["LD_LIBRARY_PATH"] = os.pathsep.join(sorted(libraries))
        return env

    def commands(self, mode: str) -> list[list[str]]:
        """The stages of a mode as argument lists, with NUL flush, marking unknown words.

        Raises:
            ModelError: the mode isn't there, or one of its programs.
        """
        file = self.mode_file(mode)
        if file is None:
            raise ModelError(f"Apertium's mode {mode} is not installed")
        words = shlex.shlex(file.read_text(encoding="utf-8"), posix=True, punctuation_chars="|")
        words.whitespace_split = True
        stages: list[list[str]] = [[]]
        for word in words:
            if word == "|":
                stages.append([])
            elif word == "$1":  # how the generator treats unknown words: -g marks them
                stages[-1].append("-g")
            elif word != "$2":  # tracing, of no use here
                stages[-1].append(self._rooted(word))
        return [[self._program(name, mode), "-z", *arguments] for name, *arguments in stages]

    def data_files(self, mode: str) -> list[Path]:
        """The mode file and the data files its stages read."""
        file = self.mode_file(mode)
        if file is None:
            return []
        arguments = {Path(word) for stage in self.commands(mode) for word in stage[1:] if word.startswith("/")}
        return [file, *(path for path in arguments if path.is_file())]

    def _rooted(self, word: str) -> str:
        return str(self.root / word.lstrip("/")) if re.match(r"/usr/", word) else word

    def _program(self, name: str, mode: str) -> str:
        program = self.program(name)
        if program is None:
            raise ModelError(f"Apertium's mode {mode} needs the program {name}, which is not installed")
        return program

    def _path(self) -> str:
        return os.pathsep.join(str(self.root / folder) for folder in ("usr/bin", "bin", "usr/local/bin"))


def unpacked(home: Path) -> Path:
    """The tree into which an ordinary user's packages are unpacked, below Tradu's home."""
    return home / "apertium" / "root"


def find(home: Path, mode: str) -> Installation | None:
    """The installation that has a mode: the machine's, else the one in Tradu's home."""
    places = (Installation(Path("/")), Installation(unpacked(home)))
    return next((place for place in places if place.mode_file(mode) is not None), None)
