"""The ledger with millions of blocks of past months beside the work of today (`make bench`).

TRADU_BENCH_ROWS is the number of blocks (1,000,000): 5,000,000 take some minutes, 10,000,000 eight. Figures are added
to the file that TRADU_BENCH_RESULTS names; storage_plot.py makes the pictures of docs/storage.md of them.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import TypeVar
from uuid import UUID

import psycopg
import pytest

from benchmarks import history
from benchmarks.test_ledger import assert_durable
from fixtures import ledger as work
from fixtures.archive import Shelf
from fixtures.ledger import DOCUMENT
from fixtures.years import live
from tradu.archival.policy import Act, Due, Residence, load_policy
from tradu.archival.run import Done, carry_out
from tradu.ledger import ids, partitions
from tradu.ledger.connection import Ledger
from tradu.ledger.partitions import Month
from tradu.ledger.rows import Block, Claim, PlacedBlock
from tradu.settings import get_settings

BLOCKS = int(os.environ.get("TRADU_BENCH_ROWS", "1000000"))
MONTHS = 3
"""Of the larger part of the past; one more is archived."""
IN_BATCH, BATCHES, READS, ROUNDS = 100, 200, 1_000, 3
AIM_READ_MS = 5.0
AIM_TIMES_SLOWER = 2.0
"""Claims beside ten times as much history."""
T = TypeVar("T")


@dataclass(frozen=True)
class Times:
    """Milliseconds of one thing."""

    p50: float
    p99: float


@dataclass(frozen=True)
class Growth:
    """What the same work takes beside so many blocks of the past."""

    blocks: int
    gigabytes: float
    claim: Times
    finish: Times
    read: Times
    page: Times

    def line(self) -> str:
        """A row of the table."""
        each = (self.claim, self.finish, self.read, self.page)
        return (
            f"| {self.blocks:,} | {self.gigabytes:.1f} | "
            + " | ".join(f"{t.p50:.1f} / {t.p99:.1f}" for t in each)
            + " |"
        )


HEAD = "| blocks | GB | claim of 100, p50 / p99 ms | complete 100 | read one block | page of 100 |\n|" + " --- |" * 6


def timed(act: Callable[[T], object], over: Iterable[T]) -> Times:
    """Do something with each; how long that takes."""
    taken = []
    for one in over:
        started = time.perf_counter()
        act(one)
        taken.append((time.perf_counter() - started) * 1e3)
    return Times(median(taken), quantiles(taken, n=100)[98])


def best(measured: Callable[[], Times]) -> Times:
    """The quietest of some rounds: what other processes of the machine take is not the ledger's."""
    return min((measured() for _ in range(ROUNDS)), key=lambda t: t.p99)


def measure(shelf: Shelf, jobs: list[UUID]) -> Growth:
    """A job of today, and reads of blocks of all months."""
    ledger, dice = Ledger(shelf.dsn, "worker"), random.Random(7)
    job = work.make_job(ledger, range(BATCHES), IN_BATCH, f"today-{len(jobs)}")
    held: dict[int, list[Claim]] = {}
    claim = timed(lambda batch: held.update({batch: work.take(ledger, job, batch)}), range(BATCHES))
    assert {len(claims) for claims in held.values()} == {IN_BATCH}
    finish = timed(
        lambda batch: work.make_current(ledger, job, batch, held[batch], f"results/{job}/{batch}"), range(BATCHES)
    )
    with psycopg.connect(shelf.dsn) as connection:
        some = connection.execute(
            "SELECT block_id FROM unnest(%s::uuid[], %s::int[]) AS j (id, n), LATERAL (SELECT block_id FROM blocks "
            "WHERE job_id = j.id AND document_id = %s AND target = 'pt' AND number = n) AS b",
            (dice.choices(jobs, k=READS), dice.choices(range(history.BLOCKS_OF_JOB), k=READS), DOCUMENT),
        ).fetchall()
        (size,) = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)

    def read(block: UUID) -> None:
        low, high = ids.same_time_range(block)
        with ledger.transaction() as tx:
            assert len(tx.rows("find_block", Block, low=low, high=high, block_id=block)) == 1

    def page(job_id: UUID) -> None:
        after = dice.randrange(history.BLOCKS_OF_JOB - 101)
        with ledger.transaction() as tx:
            values = {"job_id": job_id, "document_id": DOCUMENT, "target": "pt", "after": after, "limit": 100}
            assert len(tx.rows("blocks_of_document", PlacedBlock, **values)) == 100

    reads = best(lambda: timed(read, [block for (block,) in some]))
    pages = best(lambda: timed(page, dice.choices(jobs, k=READS)))
    ledger.close()
    return Growth(len(jobs) * history.BLOCKS_OF_JOB, size / 1e9, claim, finish, reads, pages)


def keep(what: str, value: object) -> None:
    """Add figures to the file of results."""
    if name := os.environ.get("TRADU_BENCH_RESULTS"):
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, "value": value}) + "\n")


@pytest.mark.timeout(1_800)
def test_the_same_work_beside_ten_times_the_history(shelf: Shelf) -> None:
    assert_durable(shelf.dsn)
    now = Month.of(datetime.now(UTC))
    archived = history.load(shelf.dsn, now.plus(-MONTHS - 1), BLOCKS // 10)
    jobs = list(archived)
    before = measure(shelf, jobs)
    for back in range(1, MONTHS + 1):
        jobs += history.load(shelf.dsn, now.plus(-back), BLOCKS * 9 // 10 // MONTHS)
    after = measure(shelf, jobs)
    print(f"\n{HEAD}\n{before.line()}\n{after.line()}")
    keep("growth", asdict(before))
    keep("growth", asdict(after))

    done, policy = Done(), load_policy(get_settings())
    started = time.perf_counter()
    for job in archived:
        carry_out(Due(job, Act.ARCHIVE, Residence.WARM, 0), policy, "benchmark", done)
    packed = time.perf_counter()
    assert done.jobs == {Act.ARCHIVE: len(archived)}
    assert partitions.drop(shelf.ledger, now.plus(-MONTHS - 1), datetime.now(UTC))
    dropped = time.perf_counter()
    figures = {
        "blocks": BLOCKS,
        "archived_blocks": len(archived) * history.BLOCKS_OF_JOB,
        "archive_seconds": packed - started,
        "drop_seconds": dropped - packed,
        "freed_bytes": done.freed_bytes,
        "taken_bytes": done.taken_bytes,
    }
    print(
        f"a month of {figures['archived_blocks']:,} blocks and as many rows of history archived, verified and removed "
        f"in {packed - started:.1f} s; detached and dropped in {dropped - packed:.2f} s; "
        f"{done.freed_bytes / 1e6:.0f} MB became {done.taken_bytes / 1e6:.0f} MB"
    )
    keep("archive", figures)
    assert after.read.p99 <= AIM_READ_MS
    assert after.claim.p50 <= AIM_TIMES_SLOWER * before.claim.p50
    assert after.finish.p50 <= AIM_TIMES_SLOWER * before.finish.p50


@pytest.mark.timeout(1_800)
def test_five_years(shelf: Shelf) -> None:
    policy = load_policy(get_settings())
    samples = live(shelf, policy, Month(2031, 1), months=60, jobs=3, blocks=100)
    keep("years", [asdict(sample) for sample in samples])
    for sample in samples[::6] + samples[-1:]:
        print(
            f"{sample.month}: {sample.hot_jobs} jobs and {sample.rows:,} blocks hot in {sample.months} months, "
            f"MB hot {sample.hot_bytes / 1e6:.1f}, warm {sample.warm_bytes / 1e6:.2f}, "
            f"cold {sample.cold_bytes / 1e6:.2f}"
        )
    assert max(s.hot_bytes for s in samples[12:]) < 1.2 * max(s.hot_bytes for s in samples[:12])
