"""What load runs are judged by."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from load.clients import texts
from load.measures import quantile, turns
from load.plots import ticks
from tradu.ledger.pools import DecisionRow


def rows(*changes: tuple[float, int, int]) -> list[DecisionRow]:
    """Decisions: when, and from how many workers to how many."""
    return [
        DecisionRow(datetime.fromtimestamp(at, UTC), "cpu", 1, *workers, "queue", "", {}) for at, *workers in changes
    ]


def test_only_changes_of_direction_count() -> None:
    assert turns(rows((0, 1, 3), (10, 3, 3), (20, 3, 2), (35, 2, 1), (36, 1, 2))) == [20, 1]
    assert turns(rows((0, 1, 2), (5, 2, 3))) == []


@pytest.mark.parametrize(("share", "value"), [(0.5, 5), (0.95, 10), (0.1, 1), (1, 10)])
def test_quantiles_are_values_that_were_seen(share: float, value: float) -> None:
    assert quantile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], share) == value


def test_no_sentence_comes_twice() -> None:
    documents = texts(5_000)
    words = " ".join(next(documents) + "\n\n" + next(documents) for _ in range(3)).split("In part ")[1:]
    numbers = [part.split(",")[0] for part in words]
    assert len(set(numbers)) == len(numbers) > 50


@pytest.mark.parametrize("most", [0, 0.3, 1, 3, 7, 26, 840])
def test_ticks_reach_beyond_the_most(most: float) -> None:
    assert max(ticks(most)) >= most
    assert 2 <= len(ticks(most)) <= 7
