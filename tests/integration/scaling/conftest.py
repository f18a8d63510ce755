"""A ledger of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tradu.ledger.connection import Ledger
from tradu.ledger.migrate import migrate


@pytest.fixture
def ledger(empty_database: str) -> Iterator[Ledger]:
    migrate(empty_database)
    ledger = Ledger(empty_database, "test")
    yield ledger
    ledger.close()
