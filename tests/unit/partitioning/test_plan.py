"""Shards: few, of about equal cost, in order; as many as the measured pace asks for, within bounds."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from tradu.ledger.rows import BatchSize
from tradu.partitioning.plan import (
    LEAST_BATCHES,
    MOST_BATCHES,
    Load,
    Rule,
    characters_per_second,
    sharding,
    shards,
)

SIZES = st.lists(st.integers(1, 20_000), max_size=300)
SPEEDS = st.floats(1e-3, 1e9)
BATCH = 32_000
UNMEASURED = Load(
    characters=4_000_000, batches=125, characters_per_second=None, workers=2, seconds=60, batch_characters=BATCH,
    unmeasured_characters=200_000, most=32,
)  # fmt: skip
MEASURED = replace(UNMEASURED, characters_per_second=10_000)


@st.composite
def loads(draw: st.DrawFn) -> Load:
    batches = draw(st.integers(1, 10_000))
    return Load(
        characters=draw(st.integers(0, batches * BATCH)),
        batches=batches,
        characters_per_second=draw(SPEEDS),
        workers=draw(st.integers(0, 256)),
        seconds=draw(st.floats(0.1, 3_600)),
        batch_characters=BATCH,
        unmeasured_characters=draw(st.integers(1, 10**6)),
        most=draw(st.integers(1, 1_024)),
    )


def sized(sizes: list[int]) -> list[BatchSize]:
    return [BatchSize(n, "en", "pt", size) for n, size in enumerate(sizes)]


@given(SIZES, st.integers(1, 40), st.floats(0, 1e6))
def test_never_more_than_asked_and_no_gaps(sizes: list[int], count: int, cost: float) -> None:
    placed = shards(sized(sizes), lambda s, t: cost, count)
    assert len(placed) == len(sizes)
    assert placed == sorted(placed)
    assert sorted(set(placed)) == list(range(len(set(placed))))
    assert len(set(placed)) <= count


@given(st.lists(st.integers(9_000, 12_000), min_size=64, max_size=400))
def test_about_equal_cost(sizes: list[int]) -> None:
    placed = shards(sized(sizes), lambda s, t: 1.0, 8)
    cost = [sum(s for s, p in zip(sizes, placed, strict=True) if p == shard) for shard in set(placed)]
    assert max(cost) - min(cost) <= 3 * 12_000


@given(loads(), st.booleans())
def test_what_was_not_measured_has_the_size_of_the_settings(load: Load, few: bool) -> None:
    load = replace(load, characters_per_second=None, workers=1 if few else load.workers)
    fixed = max(1, min(load.most, load.batches, load.characters // load.unmeasured_characters))
    assert sharding(load).shards == fixed


@given(loads())
def test_bounds_are_never_crossed(load: Load) -> None:
    found = sharding(load)
    assert 1 <= found.shards <= max(1, min(load.most, load.batches))
    size = load.characters / found.shards
    if found.shards > 1:
        assert size >= LEAST_BATCHES * BATCH
    if found.rule is not Rule.MOST:
        assert size <= max(MOST_BATCHES, 2 * LEAST_BATCHES) * BATCH
    if found.rule in (Rule.PACE, Rule.CEILING):
        assert size <= max(2 * LEAST_BATCHES * BATCH, load.seconds * (load.characters_per_second or 0))


@given(loads(), SPEEDS)
def test_the_faster_the_larger(load: Load, speed: float) -> None:
    slow, fast = sorted((load.characters_per_second or 0, speed))
    slower, faster = (sharding(replace(load, characters_per_second=pace)).shards for pace in (slow, fast))
    assert slower >= faster


@given(loads())
def test_there_is_a_shard_for_each_worker_where_there_is_enough_to_do(load: Load) -> None:
    assume(load.characters >= load.workers * LEAST_BATCHES * BATCH)
    assert sharding(load).shards >= min(load.workers, load.most, load.batches)


def test_the_rules() -> None:
    def found(load: Load) -> tuple[int, Rule]:
        return sharding(load).shards, sharding(load).rule

    assert found(UNMEASURED) == (20, Rule.UNMEASURED)
    assert found(MEASURED) == (7, Rule.PACE)
    assert "10,000 characters a second, 600,000 in 60 s" in sharding(MEASURED).reason
    assert found(replace(MEASURED, characters_per_second=100)) == (31, Rule.FLOOR)
    assert found(replace(MEASURED, characters_per_second=10**6)) == (2, Rule.CEILING)
    assert found(replace(MEASURED, workers=16)) == (16, Rule.WORKERS)
    assert found(replace(MEASURED, characters=10**8, batches=3_125)) == (32, Rule.MOST)
    assert found(replace(MEASURED, characters=100_000, batches=4, workers=64)) == (1, Rule.PACE)


def test_the_number_does_not_grow_with_the_blocks() -> None:
    sizes = [sharding(replace(MEASURED, characters=n * BATCH, batches=n)).shards for n in range(1, 10_000, 100)]
    assert all(one <= other for one, other in pairwise(sizes))
    assert sizes[-1] == 32


def test_what_was_not_measured_of_a_job_is_taken_to_be_like_the_rest() -> None:
    batches = [BatchSize(0, "en", "pt", 1_000), BatchSize(1, "en", "es", 1_000), BatchSize(2, "en", "fr", 2_000)]
    paces = {"pt": 1e3, "es": 3e3}  # seconds per million
    assert characters_per_second(batches, lambda s, t: paces.get(t)) == 2_000 / 4
    assert characters_per_second(batches, lambda s, t: None) is None
