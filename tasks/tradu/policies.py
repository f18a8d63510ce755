"""Policies in YAML: the shipped file, with what a file of the same name in Tradu's home changes of it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel

from tradu.entries import checked
from tradu.errors import RequestError
from tradu.settings import Settings

log = logging.getLogger(__name__)
Policy = TypeVar("Policy", bound=BaseModel)
Known = TypeVar("Known")


def load(kind: type[Policy], name: str, settings: Settings) -> Policy:
    """The policy of `<name>.yaml`; what the home's own file leaves out stays as it is shipped.

    Raises:
        RequestError: a file can't be read or used; the message names it and what is wrong.
    """
    shipped, own = _files(name, settings)
    content = _read(shipped)
    if own.is_file():
        content = _merged(content, _read(own))
    return checked(kind, content, str(own if own.is_file() else shipped))


def load_shipped(kind: type[Policy], name: str, settings: Settings) -> Policy:
    """The policy of `<name>.yaml` as it is shipped, whatever the home's own file says.

    Raises:
        RequestError: the shipped file can't be read or used.
    """
    shipped, _ = _files(name, settings)
    return checked(kind, _read(shipped), str(shipped))


def stamp(settings: Settings, *names: str) -> tuple[tuple[str, int, int, int], ...]:
    """What changes when a file of `<name>.yaml` does, for any of these names."""
    found = []
    for file in (file for name in names for file in _files(name, settings)):
        with suppress(FileNotFoundError):
            stat = file.stat()
            found.append((str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Read(Generic[Known]):
    """What was read last."""

    known: Known
    places: tuple[Path, Path]
    stamp: object
    """Of the files, which may have become wrong since."""
    until: float
    """When it is read again although the files are the same, by the monotonic clock."""


class Kept(Generic[Known]):
    """What a process knows from files: read again when one has changed; what has become wrong changes nothing.

    Whoever has read nothing good yet has nothing to go on with: there a wrong file is an error.
    """

    def __init__(
        self, load: Callable[[Settings], Known], *names: str, good_for: Callable[[Known], float] = lambda _: math.inf
    ) -> None:
        """`names` are those of the files that `load` reads; `good_for` says for how long, seconds, it need not be
        read again where no file has changed."""
        self._load, self._names, self._good_for = load, names, good_for
        self._last: _Read[Known] | None = None

    @property
    def last(self) -> Known | None:
        """What is known; nothing is read now."""
        return self._last.known if self._last else None

    def get(self, settings: Settings) -> Known:
        """What the files say, or said before they became wrong.

        Raises:
            RequestError: a file can't be read or used, and this process has not read a good one.
        """
        places, now, last = (settings.include, settings.home), stamp(settings, *self._names), self._last
        before = last if last is not None and last.places == places else None
        if before is not None and before.stamp == now and time.monotonic() < before.until:
            return before.known
        try:
            found = self._load(settings)
        except RequestError as error:
            if before is None:
                raise
            files = " and ".join(f"{name}.yaml" for name in self._names)
            log.error("%s: all stays as it was until this is mended: %s", files, error)  # noqa: TRY400 - it says where
            found = before.known
        self._last = _Read(found, places, now, time.monotonic() + self._good_for(found))
        return found


def _files(name: str, settings: Settings) -> tuple[Path, Path]:
    return settings.include / f"{name}.yaml", settings.home / f"{name}.yaml"


def _read(file: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise RequestError(f"{file}: {error}") from None
    if content is None:  # comments alone
        return {}
    if not isinstance(content, dict):
        raise RequestError(f"{file}: expected settings such as `most_running: 8`")
    return content


def _merged(shipped: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(shipped)
    for name, value in own.items():
        before = merged.get(name)
        merged[name] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged
