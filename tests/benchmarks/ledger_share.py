"""Counts the seconds a process spends in transactions of the ledger, connecting and waiting included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tradu.ledger.connection import Ledger

_each: list[float] = []
_uncounted = Ledger._connection


def seconds() -> tuple[float, int]:
    """Seconds in transactions and their number since the last call; the first one begins to count."""
    Ledger._connection = _counted  # type: ignore[method-assign]
    told = sum(_each), len(_each)
    _each.clear()
    return told


@contextmanager
def _counted(ledger: Ledger) -> Iterator[psycopg.Connection]:
    started = time.perf_counter()
    try:
        with _uncounted(ledger) as connection:
            yield connection
    finally:
        _each.append(time.perf_counter() - started)
