"""Workers without engines: processes that claim and finish batches of blocks as fast as the ledger lets them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from uuid import UUID

import psycopg

from fixtures import ledger as work
from tradu.ledger.connection import Ledger

CLAIMERS = 4
_SPAWN = multiprocessing.get_context("spawn")
_TABLES = "regexp_like(relname, '^(blocks|history|batches|objects|circuits|known_segments|results|procrastinate)')"


@dataclass(frozen=True)
class Cost:
    """What something took of the server, for `count` blocks or jobs."""

    what: str
    count: int
    seconds: float
    commits: int
    wal_bytes: int
    dead: int

    @property
    def rate(self) -> float:
        """Blocks or jobs a second."""
        return self.count / self.seconds

    def line(self) -> str:
        """A row of the table, per block or job."""
        return (
            f"{self.what:47} {self.count:>9,} {self.seconds:8.1f} {self.rate:>10,.0f} "
            f"{self.commits / self.count:8.3f} {self.wal_bytes / self.count:8,.0f} {self.dead / self.count:6.2f}"
        )


HEAD = f"{'':47} {'count':>9} {'seconds':>8} {'per second':>10} {'commits':>8} {'WAL B':>8} {'dead':>6}"


@dataclass(frozen=True)
class _Reading:
    at: float
    commits: int
    wal: int
    dead: int


def _read(dsn: str) -> _Reading:
    """Counters of the database. Dead tuples are row versions that updates and deletes left, vacuumed since or not."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(
            "SELECT xact_commit, pg_current_wal_insert_lsn() - '0/0', "
            f"(SELECT coalesce(sum(n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables WHERE {_TABLES}) "
            "FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return _Reading(time.perf_counter(), *map(int, row))


@contextmanager
def metered(dsn: str, what: str, count: int, into: list[Cost]) -> Iterator[None]:
    """Add what the block takes to a list; sessions report their counts when they close, so close them in it."""
    before = _read(dsn)
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    after = _read(dsn)
    into.append(
        Cost(what, count, seconds, after.commits - before.commits, after.wal - before.wal, after.dead - before.dead)
    )


def _claimer(dsn: str, job: UUID, batches: Sequence[int], know: bool, barrier: Barrier) -> None:
    """One worker: claims its batches, then finishes them; between the two it waits for the others."""
    barrier.wait()
    ledger = Ledger(dsn, "worker")
    held = {batch: work.take(ledger, job, batch) for batch in batches}
    ledger.close()
    barrier.wait()
    barrier.wait()
    ledger = Ledger(dsn, "worker")
    for batch, claims in held.items():
        work.make_current(ledger, job, batch, claims, f"results/{job}/{batch}", known=know)
    ledger.close()
    barrier.wait()


def claim_and_finish(dsn: str, job: UUID, batches: int, in_batch: int, name: str, *, know: bool = False) -> list[Cost]:
    """All batches of a job by four processes at once: what the claims take, and what the results take."""
    barrier = _SPAWN.Barrier(CLAIMERS + 1)
    processes = [
        _SPAWN.Process(target=_claimer, args=(dsn, job, range(n, batches, CLAIMERS), know, barrier), daemon=True)
        for n in range(CLAIMERS)
    ]
    for process in processes:
        process.start()
    costs: list[Cost] = []
    for phase in ("claims", "completions"):
        while barrier.n_waiting < CLAIMERS:  # they are ready
            assert all(process.exitcode is None for process in processes)
            time.sleep(0.01)
        with metered(dsn, f"{phase}, {name}", batches * in_batch, costs):
            barrier.wait()
            barrier.wait()
    for process in processes:
        process.join()
    return costs
