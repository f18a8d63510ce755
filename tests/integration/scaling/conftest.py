"""A ledger of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tradu.ledger.connection import Ledger


@pytest.fixture
def ledger(ledger_database: str) -> Iterator[Ledger]:
    ledger = Ledger(ledger_database, "test")
    yield ledger
    ledger.close()
