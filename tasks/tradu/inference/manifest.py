"""What a model's weights consist of: its files with sizes and SHA-256, and one checksum over all of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from tradu.errors import ModelError
from tradu.store import sha256_of

NAME = "manifest.json"
MOST_FILES = 10_000
_MOST_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True, order=True)
class File:
    """A file of a model."""

    path: str
    """Relative, with slashes."""
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a model, sorted by path."""

    files: tuple[File, ...]

    @property
    def checksum(self) -> str:
        """SHA-256 of the list of files, in hex: the same wherever the same files lie."""
        lines = (f"{f.sha256} {f.size_bytes} {f.path}\n" for f in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(file.size_bytes for file in self.files)

    def to_json(self) -> bytes:
        """As it lies beside the files in a model store."""
        content = {"checksum": self.checksum, "files": [asdict(file) for file in self.files]}
        return json.dumps(content, indent=1).encode()


def of_json(data: bytes, where: str) -> Manifest:
    """The manifest that `to_json` wrote.

    Raises:
        ModelError: it is none, or names a file outside its folder.
    """
    try:
        if len(data) > _MOST_BYTES:
            raise ValueError(f"larger than {_MOST_BYTES:,} bytes")
        content = json.loads(data)
        files = [File(str(f["path"]), int(f["size_bytes"]), str(f["sha256"])) for f in content["files"]]
        for file in files:
            check_path(file.path)
        manifest = Manifest(tuple(sorted(files)))
        if manifest.checksum != content["checksum"]:
            raise ValueError("it does not agree with its own checksum")
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{where} is no manifest of a model: {error}; add the model again") from None
    return manifest


def of_folder(folder: Path) -> Manifest:
    """The manifest of the files below a local folder, which are read whole."""
    return Manifest(tuple(sorted(File(name, path.stat().st_size, _digest(path)) for name, path in files_in(folder))))


def files_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file of a model in a local folder, by its relative path; hidden ones and a manifest are none of them.

    A link to a file stands for that file (download caches are made of such links); links to folders are not followed.

    Raises:
        ModelError: there are none, too many, or one whose name can't be kept.
    """
    count = 0
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root) / name
            relative = path.relative_to(folder).as_posix()
            if name.startswith(".") or relative == NAME or not path.is_file():
                continue
            count += 1
            if count > MOST_FILES:
                raise ModelError(f"{folder} has more than {MOST_FILES:,} files: that is no model")
            try:
                check_path(relative)
            except ValueError as error:
                raise ModelError(f"{folder}: {error}") from None
            yield relative, path
    if not count:
        raise ModelError(f"{folder} has no files")


def check_path(path: str) -> None:
    """Whether a path stays in the folder it is put into.

    Raises:
        ValueError: it does not.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or not path.isprintable() or ".." in parts or path == NAME:
        raise ValueError(f"{path!r} can't be the name of a model's file")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return sha256_of(stream)
