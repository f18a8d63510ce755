"""What commands print: data on stdout, as tables or JSON; messages and progress on stderr."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 200
"""Columns of a table that no terminal shows: wide enough that nothing is cut from what another program reads."""


class Output:
    """Where a command prints to. Colours come and go with the terminal and NO_COLOR."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json

    @property
    def stdout(self) -> Console:
        """For data."""
        return console(sys.stdout)

    @property
    def stderr(self) -> Console:
        """For messages."""
        return console(sys.stderr)

    def data(self, value: object) -> None:
        """Print a value as JSON."""
        sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")

    def say(self, message: str) -> None:
        """A line of text for people: on stdout, or on stderr where stdout carries JSON."""
        (self.stderr if self.as_json else self.stdout).print(message, markup=False, highlight=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        """A message on stderr."""
        self.stderr.print(message, markup=False, highlight=False, soft_wrap=True)

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
        """A table on stdout; headings that start with '>' stand on the right, as numbers do."""
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=title,
            title_justify="left",
            title_style="bold",
            box=None,
            pad_edge=False,
            padding=(0, 2, 0, 0),
        )
        for heading in headings:
            table.add_column(
                heading.lstrip(">"), justify="right" if heading.startswith(">") else "left", overflow="fold"
            )
        for row in rows:
            table.add_row(*(Text(shown(value)) for value in row))
        self.stdout.print(table)


def console(stream: TextIO) -> Console:
    """A Rich console on a stream, as wide as the terminal or wide enough for a pipe."""
    from rich.console import Console

    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(file=stream, width=width)


def shown(value: object) -> str:
    """A value in a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value)
    return printable(str(value))


def printable(text: str) -> str:
    """Text without control characters: names of files come from strangers, and terminals obey them."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def money(value: float | None) -> str:
    """A cost, to four significant digits: a block costs millionths."""
    return "-" if value is None else f"{value:.4g}"


def seconds(value: float | None) -> str:
    """A duration: 3.2 s, 4 min 10 s, 2 h 5 min."""
    if value is None:
        return "-"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def plain(value: Any) -> Any:
    """A value of dataclasses, ids and times as JSON knows it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID | Path):
        return str(value)
    return value
