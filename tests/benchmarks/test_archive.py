"""Archive and restore in bulk (`make bench`): one job of many blocks, and many small jobs, bit for bit.

TRADU_BENCH_ARCHIVE_BLOCKS and TRADU_BENCH_ARCHIVE_JOBS make it smaller: 100,000 blocks and 1,000 jobs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pydoc_data.topics import topics

import pytest

from fixtures.archive import Shelf
from tradu.archival import run
from tradu.archival.policy import Act, Due, Residence, load_policy
from tradu.settings import get_settings

pytestmark = pytest.mark.timeout(3_600)
BLOCKS = int(os.environ.get("TRADU_BENCH_ARCHIVE_BLOCKS", "100000"))
JOBS = int(os.environ.get("TRADU_BENCH_ARCHIVE_JOBS", "1000"))
SENTENCES = 2_000
"""So many different ones: the line knows the others already, and so makes the job in minutes."""


def sentences() -> list[str]:
    words = " ".join(topics[name] for name in sorted(topics)).split()
    return [" ".join(words[n * 9 : n * 9 + 9]) + f" number {n}." for n in range(SENTENCES)]


def timed(name: str, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    took = time.perf_counter() - started
    print(f"{name}: {took:.1f} s")
    return took


def test_one_job_of_many_blocks(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_MAX_BLOCK_CHARS", "40")
    known = sentences()
    text = "\n\n".join(known[n % SENTENCES] for n in range(BLOCKS // 2))
    job = shelf.make({"large.txt": text})
    rows, hot = shelf.rows(job), shelf.hot(job)
    size = sum(o[3] for o in rows["objects"]) + len(text)
    counts = [len(rows["blocks"]), len(rows["history"]), len(hot), size]
    print("{:,} blocks, {:,} rows of history, {:,} objects, {:,} bytes".format(*counts))
    policy, done = load_policy(get_settings()), run.Done()
    due = Due(job, Act.ARCHIVE, Residence.WARM, 0)
    timed("archive", lambda: run.carry_out(due, policy, "bench", done))
    print(f"{done.freed_bytes:,} bytes in hot with rows, {done.taken_bytes:,} in the archive")
    assert shelf.hot(job) == {}
    timed("restore", lambda: run.restore_job(job, policy))
    assert shelf.rows(job) == rows
    assert shelf.hot(job) == hot
    assert len(rows["blocks"]) >= BLOCKS * 0.9


def test_many_small_jobs(shelf: Shelf) -> None:
    known = sentences()
    jobs, before = [], {}
    for n in range(JOBS):
        jobs.append(shelf.make({"a.txt": f"{known[n % SENTENCES]}\n\n{known[(n + 1) % SENTENCES]}\n"}, str(n)))
    for job in jobs:
        shelf.age(job, 100)
        before[job] = shelf.rows(job)
    hot = shelf.everything()
    done: list[run.Done] = []
    took = timed("archive", lambda: done.append(run.run_now(run.ARCHIVING, "bench")))
    print(f"{JOBS / took:.0f} jobs/s; {done[0].freed_bytes:,} bytes in hot, {done[0].taken_bytes:,} in archives")
    assert done[0].jobs == {"archive": JOBS}
    assert shelf.everything() == {}
    timed("restore", lambda: run.restore_jobs(map(str, jobs)))
    for job in jobs:
        assert shelf.rows(job) == before[job]
    assert shelf.everything() == hot
