"""The policy of pools: bounds, cool-downs and what stops it, in simulated time and for any signals."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradu.cluster.scaling.decide import SOURCES, Rule, Signals, State, TierLatency, decide
from tradu.cluster.scaling.metrics import Metrics
from tradu.cluster.scaling.policy import Policy, load_policies
from tradu.cluster.scaling.simulate import Load, Step, simulate
from tradu.errors import RequestError
from tradu.ledger.buckets import Bucket
from tradu.settings import Settings

POLICY = Policy(floor=1, ceiling=8, cooldown_seconds=30, drain_seconds=20)
FRESH = dict.fromkeys(SOURCES, 0.0)
QUEUE = Signals(workers=2, capacity=8, queued=1_000, block_seconds=0.1, busy=1.0, ages=FRESH)

policies = st.builds(
    lambda floor, more, **rest: Policy(floor=floor, ceiling=floor + more, **rest),
    floor=st.integers(0, 4),
    more=st.integers(0, 12),
    drain_seconds=st.floats(2, 120),
    oldest_seconds=st.floats(1, 60),
    busy=st.floats(0.5, 1),
    step_up=st.integers(1, 8),
    step_down=st.integers(1, 4),
    cooldown_seconds=st.floats(5, 90),
    hysteresis=st.floats(0.05, 0.5),
)
loads = st.builds(
    Load,
    blocks=st.floats(0, 200),
    block_seconds=st.floats(0.01, 1),
    error_rate=st.sampled_from([0.0, 0.0, 0.04, 0.1]),
    stale=st.booleans(),
)


def stretched(runs: list[tuple[Load, int]]) -> list[Load]:
    return [load for load, ticks in runs for _ in range(ticks)]


traces = st.lists(st.tuples(loads, st.integers(1, 40)), min_size=1, max_size=12).map(stretched)


def changes(steps: list[Step]) -> list[tuple[float, int]]:
    """When the wanted number changed, and by how much."""
    pairs = pairwise(steps)
    return [
        (b.seconds, b.decision.wanted - a.decision.wanted) for a, b in pairs if b.decision.wanted != a.decision.wanted
    ]


@given(policies, traces, st.integers(0, 20))
def test_laws_of_every_trace(policy: Policy, trace: list[Load], capacity: int) -> None:
    low, high, _ = policy.bounds(capacity)
    steps = simulate(policy, trace, capacity)
    assert all(low <= step.decision.wanted <= high for step in steps), "the bounds are never crossed"
    moves = changes(steps)
    assert all(-policy.step_down <= by <= policy.step_up for _, by in moves)
    turns = [next(iter(own))[0] for _, own in groupby(moves, key=lambda move: move[1] > 0)]
    for before, after in pairwise(turns):
        last = max(at for at, _ in moves if at < after)
        assert after - last >= policy.cooldown_seconds - 1e-6, "one change of direction a cool-down"
        assert after > before
    for before, load, step in zip(steps, trace[1:], steps[1:], strict=False):
        if load.error_rate > policy.error_rate:
            assert step.decision.wanted <= before.decision.wanted, "nothing grows on errors"


@given(policies, st.floats(0, 120), st.floats(0.01, 1), st.integers(0, 16), st.floats(0, 20))
def test_a_constant_load_brings_it_to_rest(
    policy: Policy, blocks: float, block_seconds: float, start: int, start_seconds: float
) -> None:
    low, high, _ = policy.bounds(16)
    start = min(max(low, start), high)
    # ticks as long as a worker takes to start are coarse enough to look far ahead
    trace = [Load(5 * blocks, block_seconds)] * 800
    moves = changes(simulate(policy, trace, 16, start=start, tick=5.0, start_seconds=start_seconds))
    assert len(list(groupby(by > 0 for _, by in moves))) <= 3, "down to the load, up to the queue, down to rest"
    assert all(at < 3_000 for at, _ in moves), "no oscillation"


@given(st.builds(replace, st.just(QUEUE), queued=st.integers(0, 10**7), oldest_seconds=st.floats(0, 10**5)), st.data())
def test_nothing_that_bars_growth_is_overcome(signals: Signals, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(SOURCES))
    age = data.draw(st.one_of(st.none(), st.floats(POLICY.stale_seconds + 0.1, 10**6)))
    ages = {name: at for name, at in (FRESH | {source: age}).items() if at is not None}
    limited = POLICY.model_copy(update={"p95_seconds": 1.0})
    state = State(wanted=data.draw(st.integers(0, 8)), changed_at=0.0, direction=data.draw(st.sampled_from([-1, 0, 1])))
    for rule, barred in (
        (Rule.STALE, replace(signals, ages=ages)),
        (Rule.LEDGER, replace(signals, ledger_writable=False)),
        (Rule.ERRORS, replace(signals, error_rate=0.051)),
        (Rule.MEMORY, replace(signals, memory=0.91)),
        (Rule.SLOW, replace(signals, latency=(TierLatency("premium", 5, 0.5, 1.1),))),
        (Rule.IDLE, replace(signals, busy=0.0)),
        (Rule.PAUSED, signals),
    ):
        paused = replace(state, paused=rule is Rule.PAUSED)
        decision = decide(limited, paused, barred, 10**6)
        free = decide(limited, state, signals, 10**6)
        if rule is not Rule.IDLE or state.wanted >= 1:
            assert decision.wanted <= state.wanted, rule
        if free.wanted > state.wanted >= 1:
            assert decision.rule is rule
            assert decision.reason


def test_a_burst_is_followed_up_and_down() -> None:
    quiet, burst = [Load(0)] * 10, [Load(2_000)]
    steps = simulate(POLICY, quiet + burst + [Load(0)] * 400, 8)
    peak = max(step.decision.wanted for step in steps)
    assert peak == 8
    assert steps[10].decision.rule is Rule.QUEUE
    assert steps[10].decision.wanted == 1 + POLICY.step_up, "a step at a time"
    assert steps[-1].decision.wanted == POLICY.floor
    directions = [by > 0 for _, by in changes(steps)]
    assert directions == sorted(directions, reverse=True), "up, then down"
    assert max(step.oldest_seconds for step in steps) < 2 * POLICY.drain_seconds


@pytest.mark.parametrize(
    ("changed", "rule", "said"),
    [
        ({}, Rule.QUEUE, "1000 blocks wait"),
        ({"queued": 100, "oldest_seconds": 31}, Rule.AGE, "31 s"),
        ({"error_rate": 0.1}, Rule.ERRORS, "10.0% of the blocks fail"),
        ({"memory": 0.95}, Rule.MEMORY, "95%"),
        ({"busy": 0.0}, Rule.IDLE, "2 workers are there"),
        ({"ages": FRESH | {"scheduler": 20.0}}, Rule.STALE, "scheduler: for 20 s not heard"),
        ({"ages": {"ledger": 0.0}}, Rule.STALE, "scheduler: never heard"),
        ({"ledger_writable": False}, Rule.LEDGER, "no writes"),
        ({"capacity": 2}, Rule.CEILING, "the machines allows 2"),
        ({"queued": 0}, Rule.STEADY, "0 blocks wait"),
        ({"queued": 0, "busy": 0.1}, Rule.COOLING, "it shrinks in"),
    ],
)
def test_it_says_why(changed: dict[str, object], rule: Rule, said: str) -> None:
    decision = decide(POLICY, State(wanted=2), replace(QUEUE, **changed), 1_000.0)  # type: ignore[arg-type]
    assert decision.rule is rule
    assert said in decision.reason
    assert (decision.wanted > 2) == (rule in (Rule.QUEUE, Rule.AGE))


def test_cost_bounds_the_pool() -> None:
    priced = POLICY.model_copy(update={"cost_ceiling_per_hour": 0.3, "price_per_hour": 0.1})
    assert priced.bounds(8) == (1, 3, "cost ceiling")
    decision = decide(priced, State(wanted=3), QUEUE, 1_000.0)
    assert (decision.wanted, decision.rule) == (3, Rule.CEILING)


def test_as_shipped_a_pool_has_what_its_machines_carry(tmp_path: Path) -> None:
    shipped = load_policies(Settings(home=tmp_path))
    assert set(shipped) == {"cpu", "gpu"}
    for policy in shipped.values():
        assert policy.bounds(5)[:2] == (5, 5)


def test_the_user_s_file_is_merged_and_checked(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    (tmp_path / "scaling.yaml").write_text("pools:\n  cpu: {floor: 1}\n  gpu: null\n")
    assert load_policies(settings) == {"cpu": Policy(floor=1)}
    (tmp_path / "scaling.yaml").write_text("pools:\n  cpu: {floor: 3, ceiling: 2}\n")
    with pytest.raises(RequestError, match=r"scaling.yaml: pool 'cpu': entry: .*floor 3 is above ceiling 2"):
        load_policies(settings)
    (tmp_path / "scaling.yaml").write_text("pools:\n  cpu: {flor: 3}\n")
    with pytest.raises(RequestError, match=r"pool 'cpu': flor: Extra inputs"):
        load_policies(settings)


def test_a_limit_that_is_gone_is_no_metric_any_more(tmp_path: Path) -> None:
    file, metrics = tmp_path / "controller.prom", Metrics(tmp_path / "controller.prom")
    for names, label in ((("tenant:acme", "pool:default"), True), (("pool:default",), False)):
        metrics.write_buckets([Bucket(name, 600, 1, 0, 0.0) for name in names])
        metrics.write({}, 1)
        assert ("tenant:acme" in file.read_text()) == label
        assert 'tradu_claim_limit_claimed_characters{limit="pool:default"} 1.0' in file.read_text()


def test_the_metrics_of_one_pool_hide_no_other_s(tmp_path: Path) -> None:
    file = tmp_path / "metrics" / "controller.prom"
    grows = decide(POLICY, State(wanted=2), QUEUE, 0.0)
    blind = decide(POLICY, State(wanted=2), replace(QUEUE, ages={}), 0.0)
    Metrics(file).write({"cpu": (QUEUE, grows), "gpu": (QUEUE, blind)}, 1)
    ones = {
        line.split(" ")[0] for line in file.read_text().splitlines() if "_decision{" in line and line.endswith(" 1.0")
    }
    assert ones == {
        f'tradu_pool_decision{{pool="{pool}",rule="{decision.rule}"}}'
        for pool, decision in (("cpu", grows), ("gpu", blind))
    }
