"""The user's models.yaml, changed one entry at a time: what else stands in it, comments too, stays as it is."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tradu.errors import RequestError

KEY = "models"
_HEAD = "# Models of your own, and changes to the shipped ones: docs/how-to/add-a-model.md\n"


def entries(file: Path) -> dict[str, Any]:
    """The entries of the file; none where there is no file.

    Raises:
        RequestError: it can't be read as a mapping `models`.
    """
    return _entries(file.read_text(encoding="utf-8"), file) if file.is_file() else {}


def put(file: Path, name: str, entry: Mapping[str, Any] | None) -> None:
    """Set an entry (None: the shipped model of this name is removed), or replace it.

    Raises:
        RequestError: the file can't be read as a mapping `models`.
    """
    with _changing(file) as text:
        block = yaml.safe_dump({name: dict(entry) if entry is not None else None}, sort_keys=False, allow_unicode=True)
        wanted = _entries(text, file) | {name: entry}
        _write(file, _spliced(text, name, block, wanted))


def drop(file: Path, name: str) -> None:
    """Take an entry out; no error where it is not there."""
    with _changing(file) as text:
        wanted = _entries(text, file)
        if name in wanted:
            del wanted[name]
            _write(file, _spliced(text, name, "", wanted))


@contextmanager
def _changing(file: Path) -> Iterator[str]:
    """One process at a time changes the file; its text."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield file.read_text(encoding="utf-8") if file.is_file() else f"{_HEAD}{KEY}:\n"


def _entries(text: str, file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RequestError(f"{file}: not YAML: {error}") from None
    found = content.get(KEY) if isinstance(content, dict) else None
    if found is None and isinstance(content, dict | None) and set(content or {}) <= {KEY}:
        return {}
    if not isinstance(found, dict):
        raise RequestError(f"{file}: expected a mapping {KEY!r} from names to entries")
    return found


def _spliced(text: str, name: str, block: str, wanted: dict[str, Any]) -> str:
    """The text with the lines of one entry replaced, or added at the end; written anew where that does not do it."""
    start, end, indent = _place(text, name)
    lines = text.splitlines(keepends=True)
    if start and not lines[start - 1].endswith("\n"):
        lines[start - 1] += "\n"
    new = "".join(lines[:start]) + "".join(f"{indent}{line}\n" for line in block.splitlines()) + "".join(lines[end:])
    whole = (yaml.safe_load(text) or {}) | {KEY: wanted}
    try:
        done = yaml.safe_load(new)
    except yaml.YAMLError:
        done = None
    meant = done == whole or (not wanted and done == whole | {KEY: None})
    return new if meant else yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)


def _place(text: str, name: str) -> tuple[int, int, str]:
    """The lines [start, end) of an entry, and the indent of entries. At the end where it is not there."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    lines = text.splitlines()
    models = next((v for k, v in root.value if k.value == KEY), None) if isinstance(root, yaml.MappingNode) else None
    if not isinstance(models, yaml.MappingNode) or not models.value:
        return len(lines), len(lines), "  "
    indent = " " * models.value[0][0].start_mark.column
    for key, value in models.value:
        if key.value == name:
            return key.start_mark.line, _end(lines, key, value), indent
    last = _end(lines, *models.value[-1])
    return last, last, indent


def _end(lines: list[str], key: yaml.Node, value: yaml.Node) -> int:
    """The line after an entry: the mark of a block lies behind the empty lines and comments that follow it."""
    start, end = key.start_mark.line, value.end_mark.line
    if not isinstance(value, yaml.CollectionNode) or value.flow_style:
        return end + 1
    while end > start + 1 and (end > len(lines) or not lines[end - 1].strip() or lines[end - 1].lstrip()[0] == "#"):
        end -= 1
    return end


def _write(file: Path, text: str) -> None:
    target = file.resolve()
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
