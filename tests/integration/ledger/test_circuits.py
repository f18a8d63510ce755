"""Circuits on a real ledger: so many failures of one cause open them, one trial at a time closes them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tradu.cluster.attempt import note_health
from tradu.ledger import circuits
from tradu.ledger.circuits import Limits
from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Incident
from tradu.settings import Settings

LIMITS = Limits(failures=3, seconds=0.2)
NAME = circuits.of_model("firefox-en-pt@1")


def fail(ledger: Ledger, cause: str = "engine died after 12 texts", times: int = 1) -> list[int]:
    opened = []
    for _ in range(times):
        with ledger.transaction() as tx:
            opened.append(circuits.failed(tx, NAME, cause, LIMITS))
    return opened


def is_due(ledger: Ledger) -> bool | None:
    """Whether the circuit is due for a trial; None: it is closed."""
    with ledger.transaction() as tx:
        found = circuits.opened(tx)
    return found[0].due if found else None


def take(ledger: Ledger) -> bool:
    with ledger.transaction() as tx:
        return circuits.take_trial(tx, NAME, LIMITS)


def test_failures_of_one_cause_in_a_row_open_it(ledger: Ledger) -> None:
    assert fail(ledger, times=2) == [0, 0]
    assert is_due(ledger) is None
    assert fail(ledger, "engine died after 7 texts") == [1], "numbers make no other cause"
    assert is_due(ledger) is False


def test_another_cause_counts_anew(ledger: Ledger) -> None:
    fail(ledger, times=2)
    assert fail(ledger, "output is empty", times=2) == [0, 0]
    assert fail(ledger, "output is empty") == [1]


def test_a_success_forgets_the_failures(ledger: Ledger) -> None:
    fail(ledger, times=2)
    with ledger.transaction() as tx:
        circuits.well(tx, [NAME])
    assert fail(ledger, times=2) == [0, 0]


def test_one_trial_at_a_time_closes_it_or_leaves_it_open_for_longer(ledger: Ledger) -> None:
    fail(ledger, times=3)
    assert not take(ledger), "it is not due yet"
    time.sleep(0.25)
    assert is_due(ledger)
    assert take(ledger)
    assert not take(ledger), "somebody else has it"
    assert fail(ledger, times=20) == [2] * 20, "what fails meanwhile counts as no trial"
    time.sleep(0.25)
    assert not take(ledger), "it waits for twice as long now"
    time.sleep(0.25)
    assert take(ledger)
    with ledger.transaction() as tx:
        circuits.well(tx, [NAME])
    assert is_due(ledger) is None
    with ledger.transaction() as tx:
        kinds = [i.kind for i in tx.rows("incidents", Incident, job_id=None, limit=10)]
    assert kinds == ["circuit_closed", "circuit_opened"]


def test_commits_that_saw_the_same_models_fail_and_work_do_not_wait_for_one_another(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, others = Settings(), list[Future[int]]()
    with ledger.transaction() as tx:
        for model in "ab":
            circuits.failed(tx, circuits.of_model(model), "it died", LIMITS)
    failed: Callable[..., int] = circuits.failed

    def commit(health: dict[str, str | None]) -> int:
        with ledger.transaction() as tx:
            return note_health(tx, health, settings)

    def between(*asked: object) -> int:
        """One has said what works, and not yet what failed, when the other one begins."""
        if not others:
            others.append(threads.submit(commit, {"a": "it died", "b": None}))
            until = time.monotonic() + 30
            waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            while not ledger_waits(waits):
                assert time.monotonic() < until
                time.sleep(0.01)
        return failed(*asked)

    def ledger_waits(query: str) -> bool:
        with ledger.transaction() as tx:
            return tx.connection.execute(query).rowcount > 0

    monkeypatch.setattr(circuits, "failed", between)
    with ThreadPoolExecutor(1) as threads:
        commit({"a": None, "b": "it died"})
        assert others[0].result(30) == 0
    with ledger.transaction() as tx:
        kept = tx.connection.execute("SELECT name, failures FROM circuits").fetchall()
    assert kept == [(circuits.of_model("a"), 1)], "what the second one says is later"
