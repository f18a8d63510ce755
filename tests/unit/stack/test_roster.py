"""What an agent does next with its workers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradu.stack.roster import DRAIN_SECONDS, LEAST_BEATS, ROLL_AFTER_SECONDS, Do, Worker, plan, to_roll

UP = Worker("w0", up=True, uptime_seconds=100, joined=True)
DOWN = Worker("w0", up=False)
RETIRING = replace(UP, retiring=True, draining_seconds=3.0, beats=LEAST_BEATS)


def named(*workers: Worker) -> list[Worker]:
    return [replace(worker, service=f"w{n}") for n, worker in enumerate(workers)]


@pytest.mark.parametrize(
    ("workers", "target", "roll", "expected"),
    [
        ([UP, UP, UP], 3, None, []),
        ([UP, DOWN, DOWN], 2, None, [(Do.START, "w1")]),
        ([UP, UP, UP], 1, None, [(Do.RETIRE, "w1"), (Do.RETIRE, "w2")]),
        ([UP, RETIRING], 1, None, [(Do.STOP, "w1")]),
        ([UP, replace(RETIRING, executing=1)], 1, None, []),
        ([UP, replace(RETIRING, beats=1)], 1, None, []),
        ([UP, replace(RETIRING, executing=1, draining_seconds=DRAIN_SECONDS + 1)], 1, None, [(Do.HAND_BACK, "w1")]),
        ([UP, replace(RETIRING, joined=False)], 1, None, [(Do.STOP, "w1")]),
        # it is not started again before it has ended
        ([UP, replace(DOWN, ending=True)], 2, None, []),
        # one that is leaving is replaced by one that is down, or by itself when it has left
        ([UP, RETIRING, DOWN], 2, None, [(Do.STOP, "w1"), (Do.START, "w2")]),
        ([UP, UP], 2, 50.0, [(Do.RETIRE, "w0")]),
        ([UP, UP], 2, ROLL_AFTER_SECONDS - 0.1, []),
        ([replace(UP, uptime_seconds=10), UP], 2, 50.0, [(Do.RETIRE, "w1")]),
        ([replace(UP, uptime_seconds=10, joined=False), UP], 2, 50.0, []),
        ([RETIRING, UP], 2, 50.0, [(Do.STOP, "w0")]),
        ([UP, UP, DOWN], 3, 50.0, [(Do.START, "w2")]),
    ],
)
def test_the_next_step(workers: list[Worker], target: int, roll: float | None, expected: list[tuple[Do, str]]) -> None:
    assert plan(named(*workers), target, roll, cluster=True) == expected


def test_without_a_scheduler_workers_are_only_started() -> None:
    assert plan(named(UP, UP, RETIRING), 1, 50.0, cluster=False) == []
    assert plan(named(UP, DOWN), 2, 50.0, cluster=False) == [(Do.START, "w1")]


seconds = st.floats(0, 100)


@given(started=seconds, asked=seconds, after=seconds)
def test_each_worker_is_rolled_once_however_the_supervisor_cuts_its_seconds(
    started: float, asked: float, after: float
) -> None:
    now = max(started, asked + ROLL_AFTER_SECONDS) + after
    old = to_roll([replace(UP, uptime_seconds=int(now) - int(started))], now - asked)
    if started < asked:
        assert old
    if started >= asked + ROLL_AFTER_SECONDS:
        assert not old


workers = st.lists(
    st.builds(
        Worker,
        service=st.just(""),
        up=st.booleans(),
        uptime_seconds=st.floats(0, 200),
        joined=st.booleans(),
        retiring=st.booleans(),
        executing=st.integers(0, 1),
        draining_seconds=st.none() | st.floats(0, 100),
        beats=st.integers(0, 4),
    ),
    max_size=6,
)


@given(workers, st.integers(0, 6), st.none() | st.floats(0, 200), st.booleans())
def test_what_works_is_neither_stopped_nor_told_twice(
    found: list[Worker], target: int, roll: float | None, cluster: bool
) -> None:
    of = {worker.service: worker for worker in named(*found)}
    actions = plan(list(of.values()), target, roll, cluster=cluster)
    assert len({service for _, service in actions}) == len(actions), "one step a worker"
    for do, service in actions:
        worker = of[service]
        assert worker.up == (do is not Do.START)
        if do is Do.STOP:
            assert not worker.joined or worker.executing == 0
        if do is Do.RETIRE:
            assert not worker.retiring
            assert worker.draining_seconds is None
    staying = sum(w.up and not w.retiring and w.draining_seconds is None for w in of.values())
    started = sum(do is Do.START for do, _ in actions)
    assert staying + started <= max(target, staying)
