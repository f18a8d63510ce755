"""Decisions about batches at the cluster are kept: on a real ledger, which may be away, and never in the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from fixtures.wait import until
from tradu.cluster import journal
from tradu.cluster.journal import MOST, Journal
from tradu.cluster.window import GROWS, Bounds, Change, Sample, begin, change, replayed, step
from tradu.ledger.connection import Ledger
from tradu.ledger.pools import FeedDecision
from tradu.watchdog import pipeline

CUT = Change(8, 5, "memory", "a worker is short of memory", {"n": 1})
UP = Change(5, 6, GROWS, "all is well", {"n": 2})


@pytest.fixture
def quick(ledger_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    monkeypatch.setattr(journal, "WRITE_SECONDS", 0.05)
    monkeypatch.setenv("TRADU_LEDGER_URL", ledger_database)
    made = Journal()
    yield made
    made.close()


@pytest.fixture
def ledger(ledger_database: str) -> Iterator[Ledger]:
    opened = Ledger(ledger_database, "test")
    yield opened
    opened.close()


def kept(ledger: Ledger, job: str | None = None) -> list[FeedDecision]:
    """The oldest first."""
    with ledger.transaction() as tx:
        return tx.rows("feed_decisions", FeedDecision, job_id=job and UUID(job), limit=10_000)[::-1]


def test_steps_up_that_follow_one_another_are_one_row_and_nothing_is_written_twice(
    quick: Journal, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = str(uuid4())
    real, tried = journal._add, [0]

    def lost(notes: Any) -> None:
        real(notes)
        tried[0] += 1
        if tried[0] == 1:
            raise psycopg.OperationalError("the answer to the commit is lost")

    monkeypatch.setattr(journal, "WRITE_SECONDS", 3600)  # the test writes by itself
    monkeypatch.setattr(journal, "_add", lost)
    for before, limit in [(8, 5), (5, 6), (6, 7), (7, 4), (4, 5)]:
        decided = replace(UP if limit > before else CUT, before=before, limit=limit)
        quick.note((job, 0, 1), "gpu", decided)
        quick.note((job, 1, 1), "gpu", decided)
    for _ in range(2):
        try:
            quick._write()
        except psycopg.OperationalError:
            assert len(quick._notes) == 8
    assert tried == [2]
    assert not quick._notes
    found = [(d.before, d.most, d.rule) for d in sorted(kept(ledger, job), key=lambda d: d.number) if d.shard == 0]
    assert found == [(8, 5, "memory"), (5, 7, GROWS), (7, 4, "memory"), (4, 5, GROWS)]
    assert len(kept(ledger, job)) == 8
    assert quick.counts[GROWS] == 6


def test_a_row_is_made_again_from_what_it_rests_on(quick: Journal, ledger: Ledger) -> None:
    job, bounds = str(uuid4()), Bounds.of(4)
    sample = Sample(0.3, 0.1, 0.01, 32_000, 20, 0, pressed=True)
    window = begin(bounds)
    after = step(window, sample, bounds)
    decided = change(window, sample, bounds, after)
    assert decided is not None
    quick.note((job, 3, 7), "default", decided)
    until(lambda: kept(ledger, job))
    (row,) = kept(ledger, job)
    assert (row.shard, row.epoch, row.pool, row.before, row.most) == (3, 7, "default", 8, 5)
    assert replayed(row.inputs) == after


@pytest.mark.parametrize("where", ["postgresql://127.0.0.1:1/nobody", None])
def test_a_ledger_that_is_away_costs_memory_for_so_many_and_gets_the_newest(
    quick: Journal,
    ledger: Ledger,
    ledger_database: str,
    where: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = str(uuid4())
    monkeypatch.setenv("TRADU_HOME", str(tmp_path))
    monkeypatch.setenv("TRADU_LEDGER_URL", where) if where else monkeypatch.delenv("TRADU_LEDGER_URL")
    for number in range(MOST + 5):
        quick.note((job, number, 1), "default", CUT)
    assert len(quick._notes) == MOST
    until(lambda: "wait for the ledger" in caplog.text)
    monkeypatch.setenv("TRADU_LEDGER_URL", ledger_database)
    until(lambda: len(kept(ledger, job)) == MOST)
    assert {d.shard for d in kept(ledger, job)} == set(range(5, MOST + 5))


def test_the_watchdog_keeps_a_week_and_so_many(quick: Journal, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    job = str(uuid4())
    for number in range(6):
        quick.note((job, number, 1), "default", CUT)
    until(lambda: len(kept(ledger, job)) == 6)
    with ledger.transaction() as tx:
        tx.connection.execute("UPDATE feed_decisions SET at = now() - shard * interval '2 days'")
    pipeline.look(ledger)
    assert {d.shard for d in kept(ledger, job)} == {0, 1, 2, 3}
    monkeypatch.setattr(pipeline, "MOST_FEED_DECISIONS", 2)
    pipeline.look(ledger)
    assert {d.shard for d in kept(ledger, job)} == {0, 1}
