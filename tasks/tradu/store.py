"""The store: one fsspec tree that holds the bytes of every job, on local disk or S3, by URI alone."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

import fsspec

from tradu.errors import RequestError

CHUNK_BYTES = 1 << 20


@lru_cache(maxsize=8)
def _filesystem(protocol: str, _process: int) -> fsspec.AbstractFileSystem:
    """One filesystem per process (s3fs must be made after a fork), without listing caches (stale by design)."""
    options = {"use_listings_cache": False, "skip_instance_cache": True} if protocol in ("s3", "s3a") else {}
    return fsspec.filesystem(protocol, **options)


def split_uri(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem of a URI and the path inside it.

    Raises:
        RequestError: the URI has a scheme that is not `file` or `s3`.
    """
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        return _filesystem("file", os.getpid()), uri.removeprefix("file://")
    if parts.scheme in ("s3", "s3a"):
        return _filesystem(parts.scheme, os.getpid()), f"{parts.netloc}{parts.path}"
    raise RequestError(f"{uri}: only file:// and s3:// URIs can be read")


class Store:
    """Objects under one URI. Keys are relative (`raw/ab12...`); a reader never sees half an object."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self.fs, self.root = split_uri(self.uri)
        self._local = urlsplit(self.uri).scheme in ("", "file")

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
        if self._local:
            Path(self.root).mkdir(parents=True, exist_ok=True)

    def is_there(self) -> bool:
        """Whether the store itself can be reached."""
        try:
            return bool(self.fs.exists(self.root))
        except OSError:
            return False

    def exists(self, key: str) -> bool:
        """Whether the object is there, asked by its exact key."""
        return bool(self.fs.exists(self.path(key)))

    def size(self, key: str) -> int:
        """Size of the object, bytes."""
        return int(self.fs.size(self.path(key)))

    @contextmanager
    def reading(self, key: str) -> Iterator[BinaryIO]:
        """Open an object for reading."""
        with self.fs.open(self.path(key), "rb") as stream:
            yield cast("BinaryIO", stream)

    @contextmanager
    def writing(self, key: str) -> Iterator[BinaryIO]:
        """Write an object that appears whole, or not at all, when the block ends; replaces an older one."""
        path = self.path(key)
        if not self._local:  # a put, multipart or not, is atomic for readers
            stream = self.fs.open(path, "wb")
            try:
                yield cast("BinaryIO", stream)
            except BaseException:
                stream.discard()
                raise
            stream.close()
            return
        target = Path(path)
        self._make_folder(target.parent)
        # a fixed-length name of its own: the object's may already be as long as the filesystem allows
        temporary = target.parent / f".{uuid.uuid4().hex}.tmp"
        try:
            with temporary.open("wb") as local:
                yield cast("BinaryIO", local)
                local.flush()
                os.fsync(local.fileno())
            temporary.replace(target)
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
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, key: str, data: bytes) -> None:
        """Write a small object whole."""
        with self.writing(key) as stream:
            stream.write(data)

    def get(self, key: str) -> bytes:
        """Read a small object whole."""
        with self.reading(key) as stream:
            return stream.read()

    def copy_in(self, source: BinaryIO, key: str) -> tuple[str, int]:
        """Stream into an object; its SHA-256 in hex and its size in bytes."""
        digest, size = hashlib.sha256(), 0
        with self.writing(key) as target:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                target.write(chunk)
        return digest.hexdigest(), size

    def copy_out(self, key: str, target: Path) -> None:
        """Copy an object to a local file that appears whole."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".{uuid.uuid4().hex}.tmp"
        try:
            with self.reading(key) as source, temporary.open("wb") as local:
                while chunk := source.read(CHUNK_BYTES):
                    local.write(chunk)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def move(self, source: str, target: str) -> None:
        """Rename an object, replacing the target; atomic on local files, a copy and a delete on S3."""
        if self._local:
            self._make_folder(Path(self.path(target)).parent)
            Path(self.path(source)).replace(self.path(target))
        else:
            self.fs.copy(self.path(source), self.path(target))
            self.fs.rm_file(self.path(source))

    def remove(self, key: str) -> None:
        """Remove an object or a prefix; not an error when it is gone already."""
        path = self.path(key)
        if self.fs.exists(path):
            self.fs.rm(path, recursive=True)


def sha256_of(stream: BinaryIO) -> str:
    """SHA-256 of a stream, in hex."""
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def buffered(stream: BinaryIO) -> io.BufferedReader:
    """The stream with a read-ahead buffer, for parsers that read by small steps."""
    return io.BufferedReader(cast("io.RawIOBase", stream), buffer_size=CHUNK_BYTES)
