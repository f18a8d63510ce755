"""What a drill sees: both databases as a superuser, whatever happens to them, and never through what is harmed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest

from tradu.stack.layout import Layout
from tradu.stack.postgres import SUPERUSER

NAME = "drill"
"""The application name of our own connections: the harms spare them."""
AWAY_SECONDS = 120.0
"""How long a database may be away before a drill gives it up."""
POLL_SECONDS = 0.02
Found = TypeVar("Found")


class Database:
    """One database of the stack; a question is asked again until it is answered."""

    def __init__(self, layout: Layout, name: str) -> None:
        if layout.postgres is None:
            raise ValueError("drills need the embedded PostgreSQL")
        self.dsn = layout.postgres.dsn(name, SUPERUSER)
        self._connection: psycopg.Connection[Any] | None = None

    def rows(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        deadline = time.monotonic() + AWAY_SECONDS
        while True:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = self.connect()
                cursor = self._connection.execute(query, values)
                return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                self.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)

    def value(self, query: str, **values: object) -> Any:
        """The first column of the first row; None where there is no row."""
        found = self.rows(query, **values)
        return found[0][0] if found else None

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of its own."""
        return psycopg.connect(self.dsn, application_name=NAME, autocommit=True, connect_timeout=5)

    def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def soon(what: str, look: Callable[[], Found | None], seconds: float) -> Found:
    """What `look` finds, as soon as it finds something true: asked fifty times a second."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:.0f} s for {what}")
        time.sleep(POLL_SECONDS)
    return found


DONE_SHARE = """
SELECT count(*) FILTER (WHERE state IN ('VALIDATING', 'COMPLETED')) / greatest(1, count(*))::float8
FROM blocks WHERE job_id = %(job)s
"""
UNDER_LEASE = "SELECT token FROM stage_leases WHERE job_id = %(job)s AND stage = %(stage)s AND lease_until > now()"
LEASE = "SELECT token, lease_until FROM stage_leases WHERE job_id = %(job)s AND stage = %(stage)s"
AFTER_STAGE = """
SELECT 1 FROM stage_leases WHERE job_id = %(job)s AND stage = ANY(%(later)s)
UNION ALL SELECT 1 FROM jobs WHERE job_id = %(job)s AND finished_at IS NOT NULL
"""
CLAIMED = "SELECT block_id FROM blocks WHERE job_id = %(job)s AND state = 'CLAIMED' AND lease_until > now() LIMIT 1"
HELD_BY = """
SELECT block_id FROM blocks
WHERE job_id = %(job)s AND state = 'CLAIMED' AND lease_until > now() AND claimed_by LIKE %(holder)s
"""
NOT_ONCE = """
SELECT k.block_id, k.state, count(*) FILTER (WHERE h.to_state = 'VALIDATING') AS accepted,
       count(*) FILTER (WHERE h.to_state = 'COMPLETED') AS completed
FROM blocks k LEFT JOIN history h ON h.job_id = k.job_id AND h.entity = 'block' AND h.entity_id = k.block_id::text
WHERE k.job_id = %(job)s
GROUP BY 1, 2
HAVING k.state <> 'COMPLETED' OR count(*) FILTER (WHERE h.to_state = 'VALIDATING') <> 1
    OR count(*) FILTER (WHERE h.to_state = 'COMPLETED') <> 1
"""
ILLEGAL = "SELECT reason FROM incidents WHERE job_id = %(job)s AND kind = 'illegal_transition'"
GIVEN_BACK = """
SELECT DISTINCT reason FROM history
WHERE job_id = %(job)s AND entity = 'block' AND from_state <> '' AND to_state = 'PENDING' AND reason IS NOT NULL
"""
STEPS = """
SELECT DISTINCT at FROM history
WHERE job_id = %(job)s AND at >= %(since)s AND to_state NOT IN ('PENDING', 'CLAIMED', 'PROCESSING') ORDER BY 1
"""
"""When the job got on: what is claimed and given back again is no progress."""
WAY_OF = """
SELECT to_state FROM history WHERE job_id = %(job)s AND entity = %(entity)s AND entity_id = %(id)s ORDER BY at
"""
TASK = """
SELECT state, try_number, pid FROM task_instance
WHERE run_id = %(run)s AND task_id = %(task)s AND map_index = %(index)s
"""


def claims_of(ledger: Database, job: UUID, blocks: list[str]) -> dict[str, list[tuple[Any, str]]]:
    """Every claim of these blocks, in order: when, and by whom."""
    found: dict[str, list[tuple[Any, str]]] = {block: [] for block in blocks}
    query = """SELECT entity_id, at, actor FROM history
               WHERE job_id = %(job)s AND entity_id = ANY(%(blocks)s) AND to_state = 'CLAIMED' ORDER BY at"""
    for block, at, actor in ledger.rows(query, job=job, blocks=blocks):
        found[block].append((at, actor))
    return found
