"""Takes local documents to the store, and names a request by what it asks for."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tradu.errors import RequestError
from tradu.store import Store, sha256_of

CONFIGURATION = "tradu.yaml"
"""Says how a landing folder is translated; it is no document."""
KEY_DIGITS = 32


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this machine and its place in the tree that comes out again."""

    file: Path
    path: str


@dataclass(frozen=True, slots=True)
class HashedFile:
    """A local file with the SHA-256 of its content, in hex, and its size in bytes."""

    file: Path
    path: str
    sha256: str
    size_bytes: int


def find_files(names: Sequence[str]) -> list[LocalFile]:
    """Every document that files and folders name, in a fixed order.

    A folder gives its tree under its name. Hidden files and `tradu.yaml` are left out. Two files of one name get
    different paths.

    Raises:
        RequestError: a name leads nowhere, or to nothing that could be translated.
    """
    found: list[LocalFile] = []
    taken: set[str] = set()
    for name in names:
        files = list(_files(Path(name)))
        if not files:
            raise RequestError(f"{name}: there is no document in it (hidden files are left out)")
        for file, path in files:
            unique = _unique(path, taken)
            taken.add(unique)
            found.append(LocalFile(file, unique))
    return found


def _files(given: Path) -> Iterator[tuple[Path, str]]:
    if given.is_file():
        yield given, _readable(given.name)
        return
    if not given.is_dir():
        raise RequestError(f"{given}: no such file or folder")
    base = given.resolve().parent
    for folder, folders, names in os.walk(given.resolve()):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder) / name
            if not name.startswith(".") and name != CONFIGURATION and file.is_file():
                yield file, _readable(file.relative_to(base).as_posix())


def _readable(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise RequestError(f"{path!r}: the name is not UTF-8; rename the file") from None
    return path


def _unique(path: str, taken: set[str]) -> str:
    place, candidate, number = PurePosixPath(path), path, 1
    while candidate in taken:
        number += 1
        candidate = str(place.with_name(f"{place.stem}~{number}{place.suffix}"))
    return candidate


def hashed(files: Sequence[LocalFile]) -> list[HashedFile]:
    """The files with their checksums."""
    found = []
    for local in files:
        with local.file.open("rb") as stream:
            found.append(HashedFile(local.file, local.path, sha256_of(stream), local.file.stat().st_size))
    return found


def content_key(files: Sequence[HashedFile], uris: Sequence[str], asked: dict[str, object]) -> str:
    """The name of a request: the same for the same paths, contents and wishes, and for nothing else."""
    tree = sorted((f.path, f.sha256) for f in files)
    text = json.dumps([tree, sorted(uris), asked], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def random_part() -> str:
    """What makes a key one of its own."""
    return secrets.token_hex(4)


def upload(
    files: Sequence[HashedFile], store: Store, folder: str, progress: Callable[[int], None] = lambda _: None
) -> str:
    """Copy files to `uploads/<folder>/`; what is there already is left as it is. The URI of the folder.

    Raises:
        RequestError: a file changed while it was read.
    """
    for done, document in enumerate(files, start=1):
        key = f"uploads/{folder}/{document.path}"
        if not (store.exists(key) and store.size(key) == document.size_bytes):
            with document.file.open("rb") as stream:
                sha256 = store.copy_in(stream, key).sha256
            if sha256 != document.sha256:
                store.remove(key)
                raise RequestError(f"{document.file} changed while it was read: ask again when it is finished")
        progress(done)
    return store.uri_of(f"uploads/{folder}") + "/"
