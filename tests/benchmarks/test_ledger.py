"""The ledger in bulk, next to a job queue on the same PostgreSQL, and its share of a run (`make bench`).

TRADU_BENCH_BLOCKS and TRADU_BENCH_JOBS make it smaller: the number of blocks (1,000,000), of the peer's jobs (20,000).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from pydoc_data.topics import topics

import psycopg
import pytest
from distributed import Client

from benchmarks import claimers, ledger_share, peer
from benchmarks.claimers import CLAIMERS, Cost
from fixtures import ledger as work
from fixtures.line import Line
from fixtures.postgres import TestServer
from tradu.ledger.connection import Ledger
from tradu.ledger.migrate import migrate
from tradu.settings import get_settings

BLOCKS = int(os.environ.get("TRADU_BENCH_BLOCKS", "1000000"))
JOBS = int(os.environ.get("TRADU_BENCH_JOBS", "20000"))
BATCHES_AT_ONCE = 1_000
LARGE, SMALL = 100, 8
"""Blocks of a batch: of cells and short paragraphs, and of prose."""
AIM_TIMES_PEER = 10
AIM_SHARE = 0.03
WORKERS = 2


def assert_durable(dsn: str) -> None:
    """What was committed survives a crash of the machine."""
    with psycopg.connect(dsn) as connection:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            assert connection.execute(f"SHOW {name}").fetchone() == ("on",), name


def ledger_costs(dsn: str, blocks: int, in_batch: int, name: str, *, know: bool = False) -> list[Cost]:
    """A job of this many blocks: added, claimed and finished, each block a result of its own."""
    ledger, batches, costs = Ledger(dsn, "task"), blocks // in_batch, list[Cost]()
    job = work.make_job(ledger, [], in_batch, name)
    ledger.close()
    with claimers.metered(dsn, f"added, {name}", batches * in_batch, costs):
        ledger = Ledger(dsn, "task")
        for first in range(0, batches, BATCHES_AT_ONCE):
            work.add_batches(ledger, job, range(first, min(batches, first + BATCHES_AT_ONCE)), in_batch)
        ledger.close()
    costs += claimers.claim_and_finish(dsn, job, batches, in_batch, name, know=know)
    with psycopg.connect(dsn) as connection:
        states = connection.execute(
            "SELECT state, count(*) FROM blocks WHERE job_id = %s GROUP BY 1", (job,)
        ).fetchall()
    assert states == [("VALIDATING", batches * in_batch)]
    return costs


def peer_costs(dsn: str, folder: Path, concurrency: int = 10) -> list[Cost]:
    """Jobs that do nothing: deferred in bulk, fetched and finished by as many workers as there are claimers."""
    name, costs = peer.fetch(folder), list[Cost]()
    with claimers.metered(dsn, f"deferred, {name}", JOBS, costs):
        peer.go([peer.start(folder, dsn, "defer", JOBS)])
    processes = [peer.start(folder, dsn, "work", concurrency) for _ in range(CLAIMERS)]
    with claimers.metered(dsn, f"fetched and finished, {name}", JOBS, costs):
        peer.go(processes)
    with psycopg.connect(dsn) as connection:
        states = connection.execute("SELECT status::text, count(*) FROM procrastinate_jobs GROUP BY 1").fetchall()
    assert states == [("succeeded", JOBS)]
    return costs


@pytest.mark.timeout(1800)
def test_claims_and_completions_next_to_a_job_queue(
    postgres_server: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ours, theirs = postgres_server.create(), postgres_server.create()
    assert_durable(ours)
    migrate(ours)
    # first: the WAL of vacuuming a million blocks is not its own
    jobs = peer_costs(theirs, tmp_path_factory.mktemp("peer"))
    costs = ledger_costs(ours, BLOCKS // 10, SMALL, f"{SMALL} a batch")
    costs += ledger_costs(ours, BLOCKS // 10, LARGE, f"{LARGE} a batch, segments made known", know=True)
    bulk = ledger_costs(ours, BLOCKS, LARGE, f"{LARGE} a batch")
    _, claimed, finished = bulk
    both = claimed.count / (claimed.seconds + finished.seconds)
    print(f"\n{CLAIMERS} workers, durable; commits, WAL bytes and dead tuples a block or job\n{claimers.HEAD}")
    print("\n".join(cost.line() for cost in [*bulk, *costs, *jobs]))
    print(
        f"claimed and finished: {both:,.0f} blocks/s, {both / jobs[-1].rate:.0f} times the peer's; "
        f"completions alone {finished.rate / jobs[-1].rate:.0f} times"
    )
    for dsn in (ours, theirs):
        postgres_server.drop(dsn)
    assert both > AIM_TIMES_PEER * jobs[-1].rate


def test_share_of_a_run_that_is_the_ledger(the_line: Line) -> None:
    assert_durable(get_settings().ledger_dsn)
    the_line.put({"warm.txt": "\n\n".join(f"The workers load their model for sentence {n}." for n in range(3_000))})
    the_line.run("warm", source="en")
    (the_line.folder / "landing" / "warm.txt").unlink()
    the_line.put({"topics.txt": "\n\n".join(topics[name] for name in sorted(topics))})
    with Client(get_settings().dask_scheduler, set_as_default=False) as client:
        client.run(ledger_share.seconds)
        ledger_share.seconds()
        started = time.perf_counter()
        job = the_line.admit(source="en")
        shards = the_line.prepare(job)
        before = time.perf_counter() - started
        stages = [ledger_share.seconds()]
        started = time.perf_counter()
        the_line.infer(job, shards, seconds=600)
        infer = time.perf_counter() - started
        workers = client.run(ledger_share.seconds)
        ledger_share.seconds()
        started = time.perf_counter()
        the_line.deliver(job)
        after = time.perf_counter() - started
        stages.append(ledger_share.seconds())
    in_workers, count = map(sum, zip(*workers.values(), strict=True))
    in_stages = sum(spent for spent, _ in stages)
    share = in_workers / (infer * WORKERS)
    print(
        f"\n{len(the_line.blocks(job))} blocks, {WORKERS} workers: infer {infer:.1f} s, in {count} transactions of the "
        f"ledger {in_workers:.2f} s of {infer * WORKERS:.1f} worker seconds, {share:.1%}\n"
        f"the other stages {before + after:.1f} s, in the ledger {in_stages:.2f} s; of the whole run "
        f"{(in_workers + in_stages) / (infer * WORKERS + before + after):.1%}"
    )
    assert share < AIM_SHARE
