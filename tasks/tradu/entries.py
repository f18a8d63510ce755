"""Files of named entries in `include/`, with the files of the same names in Tradu's home merged over them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from tradu.errors import RequestError
from tradu.settings import Settings

_E = TypeVar("_E", bound=BaseModel)


def entries(settings: Settings, stem: str, key: str) -> list[tuple[str, object, str]]:
    """Name, entry and the files it may come from: the entries below `key` of `<stem>.yaml`.

    In the user's file an entry changes the fields it names, a new name adds an entry, and `null` removes one.

    Raises:
        RequestError: a file is missing or is no mapping of names to entries.
    """
    shipped, own = settings.include / f"{stem}.yaml", settings.home / f"{stem}.yaml"
    found = read(shipped, key)
    if own.is_file():
        found = _merged(found, read(own, key))
    where = f"{shipped}{f' or {own}' if own.is_file() else ''}"
    return [(name, entry, f"{where}: {key.removesuffix('s')} {name!r}") for name, entry in found.items()]


def read(file: Path, key: str) -> dict[str, object]:
    """The entries of one file.

    Raises:
        RequestError: it is missing or is no mapping of names to entries.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise RequestError(f"{file}: not YAML: {error}") from None
    found = content.get(key) if isinstance(content, dict) else None
    if found is None and content == {key: None}:
        return {}
    if not isinstance(found, dict):
        raise RequestError(f"{file}: expected a mapping {key!r} from names to entries")
    return {str(name): entry for name, entry in found.items()}


def _merged(shipped: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    merged = dict(shipped)
    for name, entry in own.items():
        before = merged.get(name)
        if entry is None:
            merged.pop(name, None)
        elif isinstance(before, dict) and isinstance(entry, dict):
            merged[name] = before | entry
        else:
            merged[name] = entry
    return merged


def checked(kind: type[_E], entry: object, where: str) -> _E:
    """An entry as its class.

    Raises:
        RequestError: it is wrong; the message names file, entry and field.
    """
    try:
        return kind.model_validate(entry)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(str(p) for p in e['loc']) or 'entry'}: {e['msg']}" for e in error.errors())
        raise RequestError(f"{where}: {faults}") from None
