"""The files that documents came from: removed with them where they were put to be translated, or the nightly run would
take them for new ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from tradu import s3
from tradu.ledger.rows import Document, Job
from tradu.settings import Settings
from tradu.store import opened, sha256_of, split_uri

_GLOB = frozenset("*?[")


def remove(job: Job, documents: Collection[str], settings: Settings) -> list[str]:
    """Remove the files below the landing prefix and the uploads that a job's request names and that have the bytes of
    one of these documents; their URIs. A file anywhere else is its owner's.

    Raises:
        StoreError: on S3: the bucket is missing, refuses us, or doesn't answer.
    """
    ours = tuple(f"{prefix}/" for prefix in (settings.landing, f"{settings.store}/uploads"))
    named = (_plain(item) for item in job.documents if documents)
    files = (uri for item in named if item.startswith(ours) for uri in _files(item))
    return [uri for uri in files if ".." not in uri.split("/") and _remove(uri, documents)]


def _files(item: str) -> Iterator[str]:
    """URIs of the files that an item of a request names: a file, a folder or a glob."""
    fs, path = split_uri(item)
    scheme = item.removesuffix(path)
    with s3.meaning(fs, path):
        found = fs.glob(path) if _GLOB & set(path) else [path]
        names = [name for one in found for name in (fs.find(one) if fs.isdir(one) else [one])]
    yield from (f"{scheme}{name}" for name in names)


def _remove(uri: str, documents: Collection[str]) -> bool:
    """Remove a file if it has the bytes of one of the documents; whether it did."""
    try:
        with opened(uri) as (stream, _):
            content = sha256_of(stream)
    except FileNotFoundError:
        return False
    if content not in documents:
        return False
    fs, path = split_uri(uri)
    with s3.meaning(fs, path):
        fs.rm_file(path)
    return True


def asked_for(job: Job, document: Document, removed: Collection[str]) -> list[str]:
    """What of a job's request names a document, or files that were removed."""
    own = next((path for path in document.paths if document.origin.endswith(path)), "")
    base = document.origin.removesuffix(own)
    names = {document.origin, *removed, *(f"{base}{path}" for path in document.paths)}
    return [item for item in job.documents if _plain(item) in names]


def _plain(item: str) -> str:
    """Without the mark of where a path begins."""
    return item.replace("/./", "/")
