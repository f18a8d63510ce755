"""The store: one fsspec tree that holds the bytes of every job, on local disk or S3, by URI alone."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec

from tradu import s3
from tradu.errors import DamagedError, RequestError, TraduError
from tradu.layout import INCOMING

CHUNK_BYTES = 1 << 20


@lru_cache(maxsize=4)
def _s3(_process: int, _environment: tuple[tuple[str, str], ...]) -> fsspec.AbstractFileSystem:
    """One filesystem per process (s3fs must be made after a fork) and credentials."""
    return s3.filesystem()


def split_uri(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem of a URI and the path inside it.

    Raises:
        RequestError: the URI has a scheme that is not `file` or `s3`.
    """
    scheme = uri.partition("://")[0] if "://" in uri else "file"
    if scheme == "file":
        return fsspec.filesystem("file"), uri.removeprefix("file://")
    if scheme in ("s3", "s3a"):  # split by hand: a key may have # and ? in it
        return _s3(os.getpid(), s3.environment()), uri.partition("://")[2]
    raise RequestError(f"{uri}: only file:// and s3:// URIs can be read")


@contextmanager
def opened(uri: str) -> Iterator[tuple[BinaryIO, int]]:
    """Open what a URI names for reading, wherever it lies; with its size in bytes.

    Raises:
        RequestError: the URI has a scheme that is not `file` or `s3`.
        OSError: there is nothing to be read.
        StoreError: on S3: the bucket is missing, refuses us, or doesn't answer.
    """
    fs, path = split_uri(uri)
    if s3.is_local(fs):
        with Path(path).open("rb") as local:
            yield local, os.fstat(local.fileno()).st_size
    else:
        size = s3.size(fs, path)
        with s3.reading(fs, path) as stream:
            yield stream, size


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What was written under a key, as the ledger keeps it."""

    key: str
    sha256: str
    size_bytes: int


class Writing(io.RawIOBase):
    """The stream of an object that is being written: it measures what goes through."""

    def __init__(self, key: str, target: BinaryIO) -> None:
        super().__init__()
        self._key, self._target = key, target
        self._digest, self._size = hashlib.sha256(), 0

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any) -> int:
        """Write bytes; how many."""
        self._digest.update(data)
        size = memoryview(data).nbytes
        self._size += size
        self._target.write(data)
        return size

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    @property
    def stored(self) -> StoredObject:
        """Key, checksum and size of what was written."""
        return StoredObject(self._key, self._digest.hexdigest(), self._size)


class _Checked(io.RawIOBase):
    """A stream that can only be read on, and that knows at its end whether it was whole."""

    def __init__(self, key: str, stream: BinaryIO, sha256: str) -> None:
        super().__init__()
        self._key, self._stream, self._wanted, self._digest = key, stream, sha256, hashlib.sha256()

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes."""
        data = self._stream.read(len(buffer))
        self._digest.update(data)
        if not data and self._digest.hexdigest() != self._wanted:
            raise DamagedError(f"{self._key} is damaged: its SHA-256 is {self._digest.hexdigest()}")
        buffer[: len(data)] = data
        return len(data)


class Store:
    """Objects under one URI. Keys are relative (`raw/ab12...`); a reader never sees half an object.

    What is there is asked by exact keys; listings serve upkeep alone. On S3 every method may raise StoreError: the
    bucket is missing, refuses us, or has not answered after several tries.

    `guard` is called before an object appears: a process that has lost its right to write raises there.
    """

    def __init__(self, uri: str, guard: Callable[[], None] = lambda: None) -> None:
        self.uri, self._guard = uri.rstrip("/"), guard
        self.fs, self.root = split_uri(self.uri)
        self.is_local = s3.is_local(self.fs)

    def path(self, key: str) -> str:
        """Path of a key inside the filesystem.

        Raises:
            RequestError: the key would leave the store.
        """
        if key.startswith("/") or "\\" in key or "\0" in key or any(part in ("..", ".", "") for part in key.split("/")):
            raise RequestError(f"{key!r} is not a key of the store: it must be a relative path without '..'")
        return f"{self.root}/{key}"

    def uri_of(self, key: str) -> str:
        """The URI of a key."""
        self.path(key)
        return f"{self.uri}/{key}"

    def create(self) -> None:
        """Make the folder of a local store where it is missing: for setting up, not for working."""
        if self.is_local:
            Path(self.root).mkdir(parents=True, exist_ok=True)

    def is_there(self) -> bool:
        """Whether the store itself can be reached."""
        try:
            return bool(self.fs.exists(self.root)) if self.is_local else s3.has_bucket(self.fs, self.root)
        except (OSError, TraduError):
            return False

    def exists(self, key: str) -> bool:
        """Whether the object is there, asked by its exact key."""
        try:
            self.size(key)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def problem(self, key: str, sha256: str) -> str | None:
        """Why an object is not as it was written; None where it is."""
        try:
            with self.checked(key, sha256) as stream:
                while stream.read(CHUNK_BYTES):
                    pass
        except FileNotFoundError:
            return "is missing"
        except DamagedError as error:
            return str(error).removeprefix(f"{key} ")
        return None

    def size(self, key: str) -> int:
        """Size of the object, bytes.

        Raises:
            FileNotFoundError: there is none.
        """
        path = self.path(key)
        return Path(path).stat().st_size if self.is_local else s3.size(self.fs, path)

    def reading(self, key: str, ahead_bytes: int = s3.AHEAD_BYTES) -> AbstractContextManager[BinaryIO]:
        """Open an object for reading; `ahead_bytes` is what is fetched ahead from S3, 0 for who jumps about.

        Raises:
            FileNotFoundError: there is none.
        """
        path = self.path(key)
        return Path(path).open("rb") if self.is_local else s3.reading(self.fs, path, ahead_bytes)

    @contextmanager
    def checked(self, key: str, sha256: str) -> Iterator[BinaryIO]:
        """Open an object for reading once from start to end; its checksum is compared at the end.

        Raises:
            DamagedError: at the end, where these are not the bytes that were written.
        """
        with self.reading(key) as stream:
            yield io.BufferedReader(_Checked(key, stream, sha256), buffer_size=CHUNK_BYTES)

    @contextmanager
    def writing(self, key: str) -> Iterator[Writing]:
        """Write an object that appears whole, or not at all, when the block ends; replaces an older one.

        The stream's `stored` then has its checksum and size.
        """
        path = self.path(key)
        if not self.is_local:
            with s3.writing(self.fs, path) as stream:
                yield Writing(key, stream)
                self._guard()
            return
        # not beside the object: who is killed while writing leaves nothing in a tree that people get
        target, temporary = Path(path), Path(self.path(f"{INCOMING}{uuid.uuid4().hex}.tmp"))
        for folder in (target.parent, temporary.parent):
            self._make_folder(folder)
        try:
            with temporary.open("wb") as local:
                yield Writing(key, local)
                local.flush()
                os.fsync(local.fileno())
            self._guard()
            _rename(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder inside the store, but never the store: where it is away (a disk that is not mounted), what is
        written in its place would be lost when it is back.

        Raises:
            FileNotFoundError: the store is away.
        """
        root = Path(self.root)
        if not root.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the store is away", str(root))
        _make_durably(folder)

    def put(self, key: str, data: bytes) -> StoredObject:
        """Write a small object whole."""
        with self.writing(key) as stream:
            stream.write(data)
        return stream.stored

    def get(self, key: str) -> bytes:
        """Read a small object whole."""
        with self.reading(key) as stream:
            return stream.read()

    def copy_in(self, source: BinaryIO, key: str) -> StoredObject:
        """Stream into an object."""
        with self.writing(key) as target:
            while chunk := source.read(CHUNK_BYTES):
                target.write(chunk)
        return target.stored

    def copy_out(self, key: str, target: Path) -> None:
        """Copy an object to a local file that appears whole."""
        with self.reading(key) as source, whole(target) as local:
            while chunk := source.read(CHUNK_BYTES):
                local.write(chunk)

    def keys(self, prefix: str) -> Iterator[tuple[str, float]]:
        """(key, age in seconds) of every object below a prefix. For upkeep alone: a listing may be stale."""
        now, path = time.time(), self.path(prefix)
        for found, written in _files(Path(path)) if self.is_local else s3.keys(self.fs, path):
            yield found.removeprefix(f"{self.root}/"), now - written

    def abandon(self, seconds: float) -> int:
        """Remove what writers left of objects that never appeared, where it is older than this; of how many objects.

        On local files that lies below `INCOMING`, and is found by its key.
        """
        return 0 if self.is_local else s3.abandon(self.fs, self.root, time.time() - seconds)

    def move(self, source: str, target: str) -> None:
        """Rename an object, replacing the target; atomic on local files, a copy and a delete on S3."""
        if self.is_local:
            self._make_folder(Path(self.path(target)).parent)
            _rename(Path(self.path(source)), Path(self.path(target)))
        else:
            s3.move(self.fs, self.path(source), self.path(target))

    def remove(self, key: str) -> None:
        """Remove an object or a prefix; not an error when it is gone already."""
        path = self.path(key)
        if not self.is_local:
            s3.remove(self.fs, path)
        elif self.fs.exists(path):
            self.fs.rm(path, recursive=True)

    def remove_objects(self, keys: Iterable[str]) -> None:
        """Remove objects under exactly these keys, on S3 a thousand with each request; not an error when one is gone
        already."""
        paths = (self.path(key) for key in keys)
        if self.is_local:
            for path in paths:
                Path(path).unlink(missing_ok=True)
        else:
            s3.remove_objects(self.fs, self.fs.split_path(self.root)[0], paths)


def _rename(source: Path, target: Path) -> None:
    """Rename for good: a name is lost with the power as long as its folder is not written to the disk, and the ledger
    calls done what bears it."""
    source.replace(target)
    _sync(target.parent)


def _make_durably(folder: Path) -> None:
    """Make a folder with those above it, each with its name on the disk."""
    missing = list(takewhile(lambda f: not f.is_dir(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync(made.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some shares can't, and keep names in their own way
            raise
    finally:
        os.close(descriptor)


def _files(folder: Path) -> Iterator[tuple[str, float]]:
    """Path and time of writing of every file of a tree; one that goes meanwhile is left out."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                yield f"{parent}/{name}", (Path(parent) / name).stat().st_mtime


@contextmanager
def whole(target: Path) -> Iterator[BinaryIO]:
    """Write a local file that appears whole when the block ends, or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("wb") as local:
            yield local
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(stream: BinaryIO) -> str:
    """SHA-256 of a stream, in hex."""
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def buffered(stream: BinaryIO) -> io.BufferedReader:
    """The stream with a read-ahead buffer, for parsers that read by small steps."""
    return io.BufferedReader(cast("io.RawIOBase", stream), buffer_size=CHUNK_BYTES)
