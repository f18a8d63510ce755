"""How many batches are at the cluster: never out of bounds, at the most where all is well, fewer where it isn't."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradu.cluster.window import (
    DECREASE,
    GROWS,
    WORKERS,
    Bounds,
    Cause,
    Sample,
    Window,
    begin,
    change,
    replayed,
    step,
)

WELL = Sample(seconds=1.0, waited_seconds=0.5, downstream_seconds=0.1, characters=32_000, done=30)
TROUBLES = {
    Cause.MEMORY: replace(WELL, pressed=True),
    Cause.ERRORS: replace(WELL, done=27, failed=3),
    Cause.DOWNSTREAM: replace(WELL, seconds=1.9, downstream_seconds=1.0),
    Cause.LATENCY: replace(WELL, seconds=6.0),
    Cause.QUEUE: replace(WELL, waited_seconds=9.0),
}
THREADS = st.integers(0, 256)
SECONDS = st.floats(0, 1e4)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    seconds = draw(SECONDS)
    return Sample(
        seconds, draw(SECONDS), draw(st.floats(0, seconds)), draw(st.integers(0, 10**6)), draw(st.integers(0, 100)),
        draw(st.integers(0, 100)), draw(st.booleans()),
    )  # fmt: skip


def after(window: Window, many: Iterable[Sample], bounds: Bounds) -> Window:
    for sample in many:
        window = step(window, sample, bounds)
    return window


@given(st.lists(st.tuples(samples(), THREADS), max_size=60))
def test_bounds_are_never_crossed_however_workers_come_and_go(course: list[tuple[Sample, int]]) -> None:
    window = begin(Bounds.of(2))
    for sample, threads in course:
        bounds = Bounds.of(threads)
        window = step(window, sample, bounds)
        assert bounds.floor <= window.limit <= bounds.ceiling
        assert bool(window.cause) == bool(window.why)


@given(st.lists(samples(), max_size=60), THREADS)
def test_it_shrinks_at_most_once_a_round(course: list[Sample], threads: int) -> None:
    bounds = Bounds.of(threads)
    window, back, sent = begin(bounds), 0, 0.0
    for sample in course:
        before, window, back = window.size, step(window, sample, bounds), back + 1
        if window.size < before:
            assert window.size >= max(bounds.floor, before * DECREASE) - 1e-9
            assert back >= sent, "what was sent since then has come back"
            back, sent = 0, window.size


@settings(max_examples=20)
@given(st.integers(1, 64), st.sampled_from([1e-3, 1.0, 1e3]))
def test_where_all_is_well_it_grows_to_the_most_and_stays(threads: int, unit: float) -> None:
    bounds = Bounds.of(threads)
    well = replace(WELL, seconds=unit, waited_seconds=unit, downstream_seconds=0.1 * unit)
    window = after(replace(begin(bounds), size=bounds.floor), [well] * (18 * bounds.ceiling), bounds)
    assert (window.limit, window.cause) == (bounds.ceiling, Cause.NONE)


@pytest.mark.parametrize("threads", [1, 2, 8, 64])
@pytest.mark.parametrize("cause", TROUBLES)
def test_each_trouble_makes_it_smaller_within_a_round_and_it_comes_back(cause: Cause, threads: int) -> None:
    bounds = Bounds.of(threads)
    used_to_it = after(begin(bounds), [WELL] * (10 * bounds.ceiling), bounds)
    troubled = used_to_it
    for _ in range(bounds.ceiling):
        troubled = step(troubled, TROUBLES[cause], bounds)
        if troubled.cause:
            break
    assert troubled.cause is cause
    assert troubled.size < used_to_it.size
    assert any(c.isdigit() for c in troubled.why) or cause is Cause.MEMORY
    assert after(troubled, [WELL] * (20 * bounds.ceiling), bounds).limit == bounds.ceiling


@pytest.mark.parametrize("cause", [Cause.MEMORY, Cause.ERRORS, Cause.QUEUE])
def test_a_trouble_that_lasts_leaves_the_floor(cause: Cause) -> None:
    bounds = Bounds.of(64)
    window = after(begin(bounds), [TROUBLES[cause]] * 2_000, bounds)
    assert window.limit == bounds.floor == 8


def test_texts_that_take_longer_for_good_are_usual_after_a_while() -> None:
    bounds = Bounds.of(16)
    used_to_it = after(begin(bounds), [WELL] * 200, bounds)
    harder = replace(WELL, seconds=3.0)
    window = after(used_to_it, [harder] * 2_000, bounds)
    assert (window.limit, window.cause) == (bounds.ceiling, Cause.NONE)


def test_short_batches_are_not_slow_for_a_busy_processor() -> None:
    bounds = Bounds.of(2)
    short = Sample(0.02, 0.02, 0.005, 200, 1)
    window = after(begin(bounds), [short] * 20 + [replace(short, seconds=0.2, waited_seconds=0.2)] * 50, bounds)
    assert window.limit == bounds.ceiling


@pytest.mark.parametrize("capacity", [12, 24, 32])
def test_it_settles_near_what_a_server_can_do_that_all_batches_share(capacity: int) -> None:
    """As a server of translations behind many workers: beyond what it can do at once, all get slower."""
    bounds, window, flying = Bounds.of(64), begin(Bounds.of(64)), deque[int]()
    sizes = []
    for _ in range(6_000):
        while len(flying) < window.limit:
            flying.append(len(flying) + 1)
        at_once = flying.popleft()
        window = step(window, replace(WELL, seconds=max(1.0, at_once / capacity)), bounds)
        sizes.append(window.limit)
    mean = sum(sizes[2_000:]) / 4_000
    assert capacity < mean < 3 * capacity


@given(st.lists(st.tuples(samples(), THREADS), max_size=60))
def test_a_decision_is_each_change_of_the_number_and_is_made_again_from_its_inputs(
    course: list[tuple[Sample, int]],
) -> None:
    window = begin(Bounds.of(2))
    for sample, threads in course:
        bounds, before = Bounds.of(threads), window
        window = step(window, sample, bounds)
        decided = change(before, sample, bounds, window)
        assert (decided is None) == (window.limit == before.limit)
        if decided is None:
            continue
        assert (decided.before, decided.limit) == (before.limit, window.limit)
        if decided.rule == GROWS:
            assert window.limit > before.limit
        elif decided.rule == WORKERS:
            assert not bounds.floor <= before.limit <= bounds.ceiling
        else:
            assert window.limit < before.limit
            assert (decided.rule, decided.why) == (window.cause, window.why)
        assert replayed(json.loads(json.dumps(decided.inputs))) == window


def test_fewer_workers_are_a_reason_of_their_own() -> None:
    window = begin(Bounds.of(8))
    fewer = step(window, WELL, Bounds.of(2))
    decided = change(window, WELL, Bounds.of(2), fewer)
    assert decided is not None
    assert (decided.before, decided.limit, decided.rule) == (16, 4, WORKERS)
