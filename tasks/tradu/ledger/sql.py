"""Reads queries.sql: every query of the ledger by its name."""

from __future__ import annotations

import re
from importlib.resources import files

from psycopg.sql import SQL

_HEAD = re.compile(r"^-- (\w+): .*$", re.MULTILINE)


def _read() -> dict[str, SQL]:
    parts = _HEAD.split(files(__package__).joinpath("queries.sql").read_text())[1:]
    queries = {name: SQL(body.strip().rstrip(";")) for name, body in zip(parts[::2], parts[1::2], strict=True)}
    if len(queries) < len(parts) // 2:
        twice = sorted({name for name in parts[::2] if parts[::2].count(name) > 1})
        raise ValueError(f"queries.sql has two queries of the name {', '.join(twice)}")
    return queries


QUERIES = _read()
