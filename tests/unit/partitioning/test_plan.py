"""Shards: few, of about equal cost, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tradu.ledger.rows import BatchSize
from tradu.partitioning.plan import shards

SIZES = st.lists(st.integers(1, 20_000), max_size=300)


def plan(sizes: list[int], max_shards: int = 32, min_shard_chars: int = 50_000, cost: float = 1.0) -> list[int]:
    batches = [BatchSize(n, "en", "pt", size) for n, size in enumerate(sizes)]
    return shards(batches, lambda s, t: cost, max_shards=max_shards, min_shard_chars=min_shard_chars)


@given(SIZES, st.integers(1, 40), st.integers(1, 100_000), st.floats(0, 1e6))
def test_never_more_than_asked_and_no_gaps(sizes: list[int], most: int, least: int, cost: float) -> None:
    placed = plan(sizes, most, least, cost)
    assert len(placed) == len(sizes)
    assert placed == sorted(placed)
    assert sorted(set(placed)) == list(range(len(set(placed))))
    assert len(set(placed)) <= most


@given(st.lists(st.integers(9_000, 12_000), min_size=64, max_size=400))
def test_about_equal_cost(sizes: list[int]) -> None:
    placed = plan(sizes, max_shards=8, min_shard_chars=1)
    cost = [sum(s for s, p in zip(sizes, placed, strict=True) if p == shard) for shard in set(placed)]
    assert max(cost) - min(cost) <= 3 * 12_000


def test_a_small_job_is_one_shard() -> None:
    assert set(plan([1_000] * 10)) == {0}


def test_the_number_does_not_grow_with_the_blocks() -> None:
    assert len(set(plan([12_000] * 100_000))) == 32
