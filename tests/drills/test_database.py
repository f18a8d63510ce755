"""A database that breaks its connections, has none left, or is blocked by somebody's open transaction."""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import UTC, datetime

import psycopg
import pytest

from drills.drill import Begin, Undisturbed
from drills.eyes import NAME
from drills.prose import LONG
from fixtures.stack import Stack

TERMINATE_SECONDS = 60.0
EXHAUSTED_SECONDS = 20.0
IDLE_SECONDS = 75.0
"""Longer than a lease, and than a worker waits for rows (30 s for its commit, 5 s when it hands blocks back)."""
MOST_CONNECTIONS = 1_000
TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = ANY(ARRAY['tradu', 'airflow']) AND pid <> pg_backend_pid() AND application_name <> %(name)s
"""
DONE_SINCE = """
SELECT count(*) FROM history WHERE job_id = %(job)s AND entity = 'block' AND to_state = 'VALIDATING' AND at > %(since)s
"""
OTHERS_OPEN = """
SELECT count(*) FROM blocks
WHERE job_id = %(job)s AND state IN ('PENDING', 'CLAIMED', 'PROCESSING') AND NOT block_id = ANY(%(locked)s)
"""
LOCK_OPEN = """
SELECT block_id FROM blocks WHERE job_id = %s AND state IN ('PENDING', 'CLAIMED') ORDER BY block_id LIMIT 20 FOR UPDATE
"""
pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


def test_connections_are_terminated_for_a_minute(drilled: Stack, long_run: Undisturbed, begin: Begin) -> None:
    drill = begin(drilled, "connections terminated", LONG)
    drill.reach_share()
    drill.harmed()
    until, ended = time.monotonic() + TERMINATE_SECONDS, 0
    while time.monotonic() < until:
        ended += drill.ledger.value(TERMINATE, name=NAME)
        time.sleep(drill.random.uniform(0.5, 1.5))  # the rate of the harm
    assert ended > TERMINATE_SECONDS, f"only {ended} connections were there to be terminated"
    drill.finish(f"every database connection terminated about once a second for {TERMINATE_SECONDS:.0f} s", long_run)


def test_the_ledger_has_no_connection_left(drilled: Stack, long_run: Undisturbed, begin: Begin) -> None:
    drill = begin(drilled, "connections exhausted", LONG)
    drill.reach_share()
    refused = None
    with ExitStack() as taken:
        drill.harmed()
        until = time.monotonic() + EXHAUSTED_SECONDS
        while time.monotonic() < until:  # whatever others let go is taken as well
            try:
                for _ in range(MOST_CONNECTIONS):
                    taken.enter_context(psycopg.connect(drilled.settings.ledger_dsn, application_name=NAME))
            except psycopg.OperationalError as error:
                refused = str(error)
            drill.ledger.value(TERMINATE, name=NAME)
            time.sleep(0.2)  # the rate of the harm
        assert refused is not None
        assert "too many connections" in refused, refused
    drill.finish(f"no connection to the ledger to be had for {EXHAUSTED_SECONDS:.0f} s", long_run)


def test_a_transaction_stays_open_on_blocks(drilled: Stack, long_run: Undisturbed, begin: Begin) -> None:
    drill = begin(drilled, "idle in transaction", LONG)
    drill.reach_share()
    with psycopg.connect(drill.ledger.dsn, application_name=NAME) as idle:
        locked = [block for (block,) in idle.execute(LOCK_OPEN, (drill.job,))]
        assert locked, "there was no open block to lock"
        drill.harmed()
        time.sleep(IDLE_SECONDS / 2)  # by now nobody waits any more who waited from the start
        since = datetime.now(UTC)
        time.sleep(IDLE_SECONDS / 2)  # how long others have to go on
        done = drill.ledger.value(DONE_SINCE, job=drill.job, since=since)
        still = drill.ledger.value(OTHERS_OPEN, job=drill.job, locked=locked)
        print(f"done in the second half: {done}; others that are still open: {still}")
        assert done or not still, f"{still} blocks that nobody has locked stood still"
        idle.rollback()
    drill.finish(f"{len(locked)} open blocks locked for {IDLE_SECONDS:.0f} s by an idle transaction", long_run)
