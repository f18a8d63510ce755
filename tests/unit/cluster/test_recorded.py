"""A recorded load run (`make load`) played again: the same decisions, and the same life in simulated time."""

from __future__ import annotations

import json
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

from tradu.cluster.scaling.controller import replayed
from tradu.cluster.scaling.policy import Policy
from tradu.cluster.scaling.simulate import Load, Step, simulate

START_SECONDS = 6.0
"""What a worker took from the decision to its first claim in that run."""


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(__file__).parent / "recorded_bursts.json").read_text(encoding="utf-8"))
    return found


def test_every_decision_is_made_again(recorded: dict[str, Any]) -> None:
    assert len(recorded["decisions"]) > 10
    for row in recorded["decisions"]:
        inputs = {name: row[name] for name in ("signals", "state", "now")} | {"policy": recorded["policy"]}
        again = replayed(inputs)
        assert (again.wanted, again.rule, again.reason) == (row["wanted"], row["rule"], row["reason"])


def test_the_simulation_lives_through_the_same_bursts(recorded: dict[str, Any]) -> None:
    policy, rows = Policy.model_validate(recorded["policy"]), recorded["decisions"]
    capacity = max(row["signals"]["capacity"] for row in rows)
    measured = [row["signals"]["block_seconds"] for row in rows if row["signals"]["block_seconds"]]
    came = dict(map(tuple, recorded["arrivals"]))
    last = round(rows[-1]["seconds"])
    loads = [Load(came.get(second, 0), sum(measured) / len(measured)) for second in range(last + 1)]
    steps = simulate(policy, loads, capacity, start=rows[0]["wanted"], start_seconds=START_SECONDS)
    low, high, _ = policy.bounds(capacity)
    assert all(low <= step.decision.wanted <= high for step in steps)
    assert max(step.decision.wanted for step in steps) == max(row["wanted"] for row in rows) == high
    assert steps[-1].decision.wanted == rows[-1]["wanted"] == low
    begin = (0.0, rows[0]["state"]["wanted"])
    real = [begin, *((row["seconds"], row["wanted"]) for row in rows)]
    played = [begin, *((step.seconds, step.decision.wanted) for step in steps)]
    assert _climbs(real) == _climbs(played) == 3, "up once a burst"
    for between in _turns(steps):
        assert between >= policy.cooldown_seconds


def _moves(wanted: list[tuple[float, int]]) -> list[tuple[float, bool]]:
    return [(at, now > before) for (_, before), (at, now) in pairwise(wanted) if now != before]


def _climbs(wanted: list[tuple[float, int]]) -> int:
    return sum(up for up, _ in groupby(up for _, up in _moves(wanted)))


def _turns(steps: list[Step]) -> list[float]:
    """Seconds between each change of direction and the change before it."""
    moves = _moves([(step.seconds, step.decision.wanted) for step in steps])
    return [at - before for (before, up), (at, now_up) in pairwise(moves) if up != now_up]
