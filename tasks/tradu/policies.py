"""Policies in YAML: the shipped file, with what a file of the same name in Tradu's home changes of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from tradu.entries import checked
from tradu.errors import RequestError
from tradu.settings import Settings

Policy = TypeVar("Policy", bound=BaseModel)


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


def stamp(settings: Settings, *names: str) -> tuple[tuple[str, int, int, int], ...]:
    """What changes when a file of `<name>.yaml` does, for any of these names."""
    found = []
    for file in (file for name in names for file in _files(name, settings)):
        with suppress(FileNotFoundError):
            stat = file.stat()
            found.append((str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)


def _files(name: str, settings: Settings) -> tuple[Path, Path]:
    return settings.include / f"{name}.yaml", settings.home / f"{name}.yaml"


def _read(file: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
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
