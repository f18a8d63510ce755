"""Takes the documents of a job in: bytes to the store once, format and language found, a row in the ledger."""

from __future__ import annotations

import errno
import hashlib
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from tradu.documents import codes, language
from tradu.documents.model import FormatOptions
from tradu.documents.registry import detect_format
from tradu.errors import DataError, RequestError, SystemicError, TransientError
from tradu.ingestion.sources import Source, expand
from tradu.layout import INCOMING, raw_key
from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Job
from tradu.settings import Settings
from tradu.store import Store, buffered, opened

log = logging.getLogger(__name__)
HEAD_BYTES = 64 * 1024
SAMPLE_CHARS = 4_000
COMMIT_EVERY = 100
REPLACED = "its file was replaced or removed before the job was cut"
_STORE_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
MINIMUM_CONFIDENCE = 0.3
"""Below this, a language is a guess: the document is refused rather than translated from the wrong language."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What was found out about one file."""

    document_id: str
    path: str
    origin: str
    size_bytes: int
    format: str | None = None
    source: str | None = None
    language_confidence: float | None = None
    error: str | None = None


def ingest(job: Job, options: FormatOptions, ledger: Ledger, store: Store, settings: Settings) -> int:
    """Take in every document of the job; how many files were seen. A second time changes nothing.

    A file that can't be read or is of no known format is registered with its error; the gate quarantines it. What an
    earlier time took in of a file that has been mended or, being bad, removed since then, does not count any more: of
    several files of that content, those that are still so do.

    Raises:
        RequestError: the request names nothing, too much, or what it may not read.
        TransientError: a document was cleared away by the archive just then: a retry takes it in.
    """
    sources = expand(job.documents, settings)
    seen, met, owners = 0, set[str](), dict[str, str]()
    while chunk := list(islice(sources, COMMIT_EVERY)):
        arrivals = [take_in(source, job.source, options, store, settings) for source in chunk]
        with ledger.transaction(job.request_id) as tx:
            tx.run("share_raw")
            tx.run("forget_replaced", job_id=job.job_id, document_ids=[a.document_id for a in arrivals])
            for arrival in arrivals:
                _register(tx.run, job, arrival)
        for arrival in arrivals:  # from here on it is not cleared away
            if arrival.size_bytes and not store.exists(raw_key(arrival.document_id)):
                raise TransientError(f"{arrival.path} was archived with another job meanwhile: it is taken in again")
        seen += len(arrivals)
        met |= {a.document_id for a in arrivals}
        owners |= {a.path: a.document_id for a in arrivals if a.error is None}
        log.info("took in %d files", seen)
    paths = list(owners)
    with ledger.transaction(job.request_id) as tx:
        tx.run("hand_over_paths", job_id=job.job_id, paths=paths, owners=list(owners.values()))
        replaced = tx.run("replace_documents", job_id=job.job_id, met=list(met), paths=paths, reason=REPLACED)
    if replaced:
        log.info("%d documents were replaced or removed since they were taken in", replaced)
    return seen


def _register(run: Callable[..., int], job: Job, arrival: Arrival) -> None:
    run(
        "register_document",
        job_id=job.job_id,
        document_id=arrival.document_id,
        paths=[arrival.path],
        origin=arrival.origin,
        format=arrival.format,
        source=arrival.source,
        language_confidence=arrival.language_confidence,
        size_bytes=arrival.size_bytes,
        error=arrival.error,
    )


def take_in(source: Source, language_asked: str, options: FormatOptions, store: Store, settings: Settings) -> Arrival:
    """Copy one file into the store under its checksum and look at what it is.

    Raises:
        SystemicError: the store is away, or takes no more.
    """
    try:
        _check_name(source.path, store)
        document_id, size = _copy(source.uri, store, settings.max_document_bytes)
    except OSError as error:
        if error.errno in _STORE_FULL:
            raise SystemicError(
                f"the store takes no more ({error.strerror}): make room and start the job again"
            ) from error
        if not store.is_there():
            raise SystemicError(f"the store at {store.uri} is away: {error.strerror or error}") from error
        return _not_taken(source, f"can't be read: {error.strerror or error}")
    except DataError as error:
        return _not_taken(source, str(error))
    name = found = confidence = problem = None
    try:
        if size == 0:
            raise DataError("the file is empty")
        with store.reading(raw_key(document_id)) as stream:
            name, found, confidence = _look(source.path, buffered(stream), options)
        if language_asked != "auto":
            found, confidence = language_asked, 1.0
        elif found is not None and confidence is not None and confidence < MINIMUM_CONFIDENCE:
            raise DataError(f"the language isn't clear ({found}, {confidence:.0%} sure): name it (--from, or `source`)")
    except DataError as error:
        problem = str(error)
    return Arrival(document_id, source.path, source.uri, size, name, found, confidence, problem)


def _check_name(path: str, store: Store) -> None:
    """Refuse a name that the output could not have."""
    try:
        path.encode()
        store.path(f"output/{path}")
    except UnicodeEncodeError:
        raise DataError("its name is not UTF-8: rename it") from None
    except RequestError as error:
        raise DataError(f"its name can't be that of an output ({error}): rename it") from None


def _not_taken(source: Source, error: str) -> Arrival:
    """A file of which there are no bytes: it is known by its URI instead."""
    uri, path = (text.encode(errors="replace").decode() for text in (source.uri, source.path))
    unread = hashlib.sha256(f"unread:{source.uri}".encode(errors="surrogateescape")).hexdigest()
    return Arrival(unread, path, uri, 0, error=error)


def _look(path: str, stream: BinaryIO, options: FormatOptions) -> tuple[str, str | None, float | None]:
    """Format, language and confidence from the head of a document; no language where there is nothing to translate."""
    document_format = detect_format(path, stream.read(HEAD_BYTES))
    stream.seek(0)
    sample, size = [], 0
    for unit in document_format.units(stream, options):
        text = codes.plain(unit.text)
        sample.append(text)
        size += len(text)
        if size >= SAMPLE_CHARS:
            break
    if not sample:
        return document_format.name, None, None
    found = language.guess(" ".join(sample))
    return (document_format.name, found.language, found.confidence) if found else (document_format.name, None, None)


def _copy(uri: str, store: Store, limit: int) -> tuple[str, int]:
    """Copy a file into `raw/`, once; its SHA-256 and size."""
    incoming = f"{INCOMING}{uuid.uuid4().hex}"
    with opened(uri) as (source, size):
        if size > limit:
            raise DataError(f"{size:,} bytes: the limit is {limit:,} (TRADU_MAX_DOCUMENT_BYTES)")
        taken = store.copy_in(source, incoming)
    document_id, size = taken.sha256, taken.size_bytes
    key = raw_key(document_id)
    if store.problem(key, document_id) is None:
        store.remove(incoming)
    else:
        store.move(incoming, key)
    return document_id, size
