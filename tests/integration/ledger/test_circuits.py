"""Circuits on a real ledger: so many failures of one cause open them, one trial at a time closes them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tradu.ledger import circuits
from tradu.ledger.circuits import Circuit, Limits
from tradu.ledger.connection import Ledger
from tradu.ledger.migrate import migrate
from tradu.ledger.rows import Incident

LIMITS = Limits(failures=3, seconds=0.2)
NAME = circuits.of_model("firefox-en-pt@1")


@pytest.fixture
def ledger(empty_database: str) -> Iterator[Ledger]:
    migrate(empty_database)
    ledger = Ledger(empty_database, "test")
    yield ledger
    ledger.close()


def fail(ledger: Ledger, cause: str = "engine died after 12 texts", times: int = 1) -> list[bool]:
    opened = []
    for _ in range(times):
        with ledger.transaction() as tx:
            opened.append(circuits.failed(tx, NAME, cause, LIMITS))
    return opened


def shut(ledger: Ledger) -> set[str]:
    with ledger.transaction() as tx:
        return circuits.shut(tx, {NAME, circuits.STORE}, LIMITS)


def test_failures_of_one_cause_in_a_row_open_it(ledger: Ledger) -> None:
    assert fail(ledger, times=2) == [False, False]
    assert shut(ledger) == set()
    assert fail(ledger, "engine died after 7 texts") == [True], "numbers make no other cause"
    assert shut(ledger) == {NAME}


def test_another_cause_counts_anew(ledger: Ledger) -> None:
    fail(ledger, times=2)
    assert fail(ledger, "output is empty", times=2) == [False, False]
    assert fail(ledger, "output is empty") == [True]


def test_a_success_forgets_the_failures(ledger: Ledger) -> None:
    fail(ledger, times=2)
    with ledger.transaction() as tx:
        circuits.well(tx, [NAME])
    assert fail(ledger, times=2) == [False, False]


def test_one_trial_at_a_time_closes_it_or_leaves_it_open_for_longer(ledger: Ledger) -> None:
    fail(ledger, times=3)
    time.sleep(0.25)
    assert shut(ledger) == set(), "the first to ask takes the trial"
    assert shut(ledger) == {NAME}, "the second does not"
    fail(ledger)
    with ledger.transaction() as tx:
        (circuit,) = tx.rows("open_circuits", Circuit)
    assert circuit.openings == 2
    time.sleep(0.25)
    assert shut(ledger) == {NAME}, "it waits for twice as long now"
    time.sleep(0.25)
    assert shut(ledger) == set()
    with ledger.transaction() as tx:
        circuits.well(tx, [NAME])
    assert shut(ledger) == set()
    with ledger.transaction() as tx:
        kinds = [i.kind for i in tx.rows("incidents", Incident, job_id=None, limit=10)]
    assert kinds == ["circuit_closed", "circuit_opened"]
