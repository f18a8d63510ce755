"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print data as JSON on stdout; messages go to stderr.")]
JobId = Annotated[
    str,
    typer.Argument(metavar="ID", help="A job's id, or any first or last part of it that no other job shares."),
]
Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH", help="Files and folders; hidden files in folders are left out."),
]
Targets = Annotated[
    list[str], typer.Option("--to", metavar="LANGUAGES", help="Languages to translate into, e.g. pt,es.")
]
Source = Annotated[
    str,
    typer.Option("--from", metavar="LANGUAGE", help="Language of the documents; auto: found for each one."),
]
Profile = Annotated[str, typer.Option("--profile", metavar="NAME", help="Which tiers of models may be used.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--columns", metavar="NAMES", help="CSV/TSV: columns to translate, by name or number. Unset: prose."),
]
Fields = Annotated[
    list[str] | None,
    typer.Option("--fields", metavar="PATHS", help="JSON Lines: fields to translate (title,body.text). Unset: prose."),
]
Encoding = Annotated[
    str | None,
    typer.Option("--encoding", metavar="NAME", help="Of the documents (cp1252, shift_jis). Unset: found out."),
]
OutDir = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Copy the translations to DIR/<language>/<path>; waits for them."),
]


def listed(values: Iterable[str] | None) -> tuple[str, ...] | None:
    """The items of an option given several times, with commas, or both; None where it wasn't given."""
    if values is None:
        return None
    items = (item.strip() for value in values for item in value.split(","))
    return tuple(dict.fromkeys(item for item in items if item)) or None
