"""Where documents come from: files, folders, globs and URIs, inside the prefixes that jobs may read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tradu import s3
from tradu.errors import RequestError
from tradu.settings import Settings
from tradu.store import split_uri

CONFIGURATION = "tradu.yaml"
_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Source:
    """A file to take in: its URI, and its place in the tree that comes out again."""

    uri: str
    path: str


def allowed_prefixes(settings: Settings) -> tuple[str, ...]:
    """URI prefixes that jobs may read: uploads, the landing prefix, and what the settings add."""
    return (f"{settings.store}/uploads", settings.landing, *settings.sources)


def _real(uri: str) -> str:
    """Scheme and path without `..` and symbolic links, to compare prefixes by."""
    _, path = split_uri(uri)
    if uri.startswith(("s3://", "s3a://")):
        if ".." in PurePosixPath(path).parts:
            raise RequestError(f"{uri}: '..' is not allowed in a URI")
        return f"s3:{path.rstrip('/')}"
    return f"file:{os.path.realpath(path)}"


def check_allowed(uri: str, settings: Settings) -> None:
    """Refuse what lies outside the prefixes that jobs may read.

    Raises:
        RequestError: it does; the message names the prefixes and the setting.
    """
    real = _real(uri)
    prefixes = allowed_prefixes(settings)
    if not any(real == (root := _real(prefix)) or real.startswith(f"{root.rstrip('/')}/") for prefix in prefixes):
        raise RequestError(
            f"{uri} lies outside of what jobs may read ({', '.join(prefixes)}): upload it with `tradu translate`, "
            "put it into the landing prefix, or add its prefix to TRADU_SOURCES"
        )


def expand(items: Sequence[str], settings: Settings, *, limited: bool = True) -> Iterator[Source]:
    """Every file that the items of a request name, in a fixed order; `limited` to as many as a job may have.

    A folder gives its tree under the folder's name (with a trailing slash: its content, without the name), a glob what
    it matches. `/./` in an item marks where the path that is kept begins, as in rsync: `landing/./notes/a.txt` keeps
    `notes/a.txt`. Hidden files and `tradu.yaml` are left out. Two files of one name get different paths.

    Raises:
        RequestError: an item lies outside of the allowed prefixes, names nothing, or there are too many files.
    """
    taken: set[str] = set()
    for item in items:
        check_allowed(_fixed_part(item), settings)
        found = 0
        for uri, path in _files(item):
            if _hidden(path):
                continue
            check_allowed(uri, settings)
            found += 1
            unique = _unique(path, taken)
            taken.add(unique)
            if limited and len(taken) > settings.max_documents:
                raise RequestError(
                    f"more than {settings.max_documents} documents: split the job, or raise TRADU_MAX_DOCUMENTS"
                )
            yield Source(uri, unique)
        if not found:
            raise RequestError(f"{item}: no such file or folder, or nothing in it")


def _fixed_part(item: str) -> str:
    """The part of an item before the first component with a wildcard."""
    parts = item.split("/")
    first = next((i for i, part in enumerate(parts) if _GLOB & set(part)), len(parts))
    return "/".join(parts[:first]) or "/"


def _files(item: str) -> Iterator[tuple[str, str]]:
    """URIs of the files under an item, and their paths relative to its parent (its own, for a trailing slash)."""
    fs, path = split_uri(item)
    scheme = item.split("://", 1)[0] + "://" if "://" in item else "file://"
    if "/./" in path:
        base, _, kept = path.partition("/./")
        inside = _files(f"{scheme}{base}/{kept}")
        yield from ((uri, uri.removeprefix(f"{scheme}{base}/")) for uri, _ in inside)
        return
    with s3.meaning(fs, path):
        if _GLOB & set(path):
            base, names = split_uri(_fixed_part(item))[1], sorted(fs.glob(path))
            names = [n for name in names for n in (sorted(fs.find(name)) if fs.isdir(name) else [name])]
        elif fs.isdir(path):
            base = path.rstrip("/") if path.endswith("/") else str(PurePosixPath(path).parent)
            names = sorted(fs.find(path))
        else:
            base, names = str(PurePosixPath(path).parent), [path] if fs.exists(path) else []
    for name in names:
        yield scheme + name, name[len(base.rstrip("/")) + 1 :]


def _hidden(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return any(part.startswith(".") for part in parts) or parts[-1] == CONFIGURATION


def _unique(path: str, taken: set[str]) -> str:
    place, candidate, number = PurePosixPath(path), path, 1
    while candidate in taken:
        number += 1
        candidate = str(place.with_name(f"{place.stem}~{number}{place.suffix}"))
    return candidate
