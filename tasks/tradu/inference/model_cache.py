"""Weights that were fetched to this machine: each once, below a bound, the longest unused out first.

An entry is a folder named after its checksum, with a lock file beside it. Who uses the folder holds the lock shared;
who fills or removes it holds it alone. No process waits inside the kernel for one lock while it holds another: it asks,
and asks again, so that processes can't block one another for ever. A process that dies leaves no lock behind.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tradu.errors import ModelError

ASK_AGAIN_SECONDS = 0.1
_PART = ".part"
_ROOM = "room.lock"


@dataclass(frozen=True, slots=True)
class Hold:
    """A fetched model in use: it is not evicted before this is closed, or the process ends."""

    folder: Path
    lock: IO[str]

    def close(self) -> None:
        """Let it go. May be called twice."""
        self.lock.close()


class ModelCache:
    """The cache in one folder; any number of processes share it."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self._limit = folder, limit_bytes

    def has(self, checksum: str) -> bool:
        """Whether the model is there."""
        return (self._folder / checksum).is_dir()

    def take(self, checksum: str, size_bytes: Callable[[], int], fill: Callable[[Path], None]) -> Hold:
        """The model's folder, filled first if need be; of several that want it one asks its size, and fills it.

        Raises:
            ModelError: the cache has no room for it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        place = self._folder / checksum
        while True:
            lock = self._lock_file(checksum).open("a+")
            try:
                if place.is_dir() and _try(lock, fcntl.LOCK_SH) and place.is_dir():
                    os.utime(lock.fileno())
                    return Hold(place, lock)
                filling = not place.is_dir() and _try(lock, fcntl.LOCK_EX) and not place.is_dir()
                if filling:
                    self._fill(place, size_bytes(), fill, lock)
            except BaseException:
                lock.close()
                raise
            lock.close()
            if not filling:
                time.sleep(ASK_AGAIN_SECONDS)

    def _fill(self, place: Path, size_bytes: int, fill: Callable[[Path], None], lock: IO[str]) -> None:
        """Fill a folder beside the place, and give it its name when it is whole."""
        part = place.with_name(f"{place.name}{_PART}")
        with self._room():
            shutil.rmtree(part, ignore_errors=True)  # of one that was killed
            self._evict(size_bytes)
            lock.truncate(0)
            lock.write(str(size_bytes))
            lock.flush()
            part.mkdir()  # from here on its room is taken
        try:
            fill(part)
            part.rename(place)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """One process at a time hands out room."""
        with (self._folder / _ROOM).open("a") as lock:
            while not _try(lock, fcntl.LOCK_EX):
                time.sleep(ASK_AGAIN_SECONDS)
            yield

    def _evict(self, needed_bytes: int) -> None:
        """Remove what was unused for longest and nobody holds, until there is room.

        Raises:
            ModelError: there can't be.
        """
        entries = sorted(self._entries(), key=lambda entry: entry[1])
        total = sum(size for _, _, size in entries)
        for folder, _, size in entries:
            if total + needed_bytes <= self._limit:
                return
            with self._lock_file(folder.name.removesuffix(_PART)).open("a") as lock:
                if _try(lock, fcntl.LOCK_EX):
                    gone = self._folder / f".{uuid.uuid4().hex}"
                    folder.rename(gone)  # a reader finds all of it, or nothing
                    shutil.rmtree(gone)
                    total -= size
        if total + needed_bytes > self._limit:
            raise ModelError(
                f"the cache of models ({self._folder}) has no room for {needed_bytes / 1e6:,.0f} MB: "
                f"{total / 1e6:,.0f} of {self._limit / 1e6:,.0f} MB are in use; raise TRADU_MODEL_CACHE_MB"
            )

    def _entries(self) -> Iterator[tuple[Path, float, int]]:
        """Folder, time of last use and size in bytes, of what is there and of what is on its way."""
        for folder in self._folder.iterdir():
            if not folder.is_dir():
                continue
            if folder.name.startswith("."):  # of one that was killed while it removed it
                shutil.rmtree(folder, ignore_errors=True)
                continue
            lock = self._lock_file(folder.name.removesuffix(_PART))
            size = lock.read_text() if lock.is_file() else ""
            yield folder, lock.stat().st_mtime if size else 0.0, int(size) if size.isdigit() else 0

    def _lock_file(self, checksum: str) -> Path:
        """Never removed: a process may be about to lock it."""
        return self._folder / f"{checksum}.lock"


def _try(lock: IO[str], how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
