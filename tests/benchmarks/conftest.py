"""Benchmarks run on a PostgreSQL with the parameters of a stack, durable."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.postgres import TestServer, serve
from tradu.stack import host, postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[TestServer]:
    """One PostgreSQL a session, as `tradu up` starts it."""
    with serve(postgres.parameters(host.this_host().memory_bytes)) as server:
        yield server
