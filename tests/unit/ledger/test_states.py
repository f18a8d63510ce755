"""The table of transitions and the identifiers."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tradu.ledger import ids, states

MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1)).map(lambda d: d.replace(tzinfo=UTC))
RANDOM = st.binary(min_size=10, max_size=10)


def test_every_state_can_be_reached_and_every_open_one_left() -> None:
    for table, kind in (
        (states.JOB_TRANSITIONS, states.JobState),
        (states.DOCUMENT_TRANSITIONS, states.DocumentState),
        (states.BLOCK_TRANSITIONS, states.BlockState),
    ):
        reached, frontier = {states.NEW}, [states.NEW]
        while frontier:
            for after in table.get(frontier.pop(), ()):
                if after not in reached:
                    reached.add(after)
                    frontier.append(after)
        assert reached == {states.NEW, *kind}


def test_open_blocks_can_always_be_cancelled_or_quarantined() -> None:
    for state in (*states.BLOCK_WAITING, states.BlockState.VALIDATING):
        after = states.BLOCK_TRANSITIONS[state]
        assert states.BlockState.CANCELED in after
        assert states.BlockState.ERROR in after


@given(MOMENTS, RANDOM)
def test_a_job_id_is_a_uuid7_that_carries_its_time(now: datetime, randomness: bytes) -> None:
    job = ids.new_job_id(now, randomness)
    assert job.version == 7
    assert job.variant == "specified in RFC 4122"
    assert abs((ids.created_at(job) - now).total_seconds()) < 0.002


@given(MOMENTS, RANDOM, RANDOM)
def test_job_ids_sort_by_time(now: datetime, one: bytes, other: bytes) -> None:
    later = now.replace(year=now.year + 1, day=1)
    assert ids.new_job_id(now, one) < ids.new_job_id(later, other)


@given(MOMENTS, RANDOM, st.integers(0, 10_000), st.sampled_from(["pt", "es"]))
def test_a_block_id_is_computed_and_leads_to_its_job(
    now: datetime, randomness: bytes, number: int, target: str
) -> None:
    job = ids.new_job_id(now, randomness)
    block = ids.block_id(job, "a" * 64, target, number)
    assert block == ids.block_id(job, "a" * 64, target, number)
    assert block != ids.block_id(job, "a" * 64, target, number + 1)
    low, high = ids.same_time_range(block)
    assert low <= job <= high
