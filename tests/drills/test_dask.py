"""Dask workers that are killed, once and again and again, or frozen: others take their blocks, nobody's twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from itertools import cycle

import pytest

from drills import harm
from drills.drill import Begin, Drill, Undisturbed
from drills.eyes import claims_of, soon
from drills.prose import LONG
from fixtures.stack import Stack

KILLS = 5
TAKEN_OVER_SECONDS = 120.0
COMMIT_SECONDS = 0.5
"""A commit under way when its sender is frozen is done after this."""
pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


def _stop_with_blocks(drill: Drill, pid: int, but: Collection[str] = (), seconds: float = 60) -> list[str]:
    """Freeze a worker at a moment at which it holds blocks, none of them among `but`; which.

    It's frozen only when there is something to be seen: who is frozen at every look gets nothing done. A commit that it
    has sent is carried out by the database without it: what is held is asked again after a while.
    """

    def held() -> list[str]:
        blocks = drill.held_by(f"worker%:{pid}")
        return [] if set(blocks) & set(but) else blocks

    def look() -> list[str]:
        if not held():
            return []
        os.kill(pid, signal.SIGSTOP)
        time.sleep(COMMIT_SECONDS)
        still = held()
        if not still:
            os.kill(pid, signal.SIGCONT)
        return still

    return soon("the worker to hold blocks", look, seconds)


def _taken_over(drill: Drill, blocks: list[str], pid: int) -> bool:
    """Whether each of the blocks has been claimed by another worker after the victim."""
    claims = claims_of(drill.ledger, drill.job, blocks)
    return all(not own[-1][1].endswith(f":{pid}") for own in claims.values())


def _taken_over_after(drill: Drill, blocks: list[str], pid: int) -> float:
    """Seconds from the harm to the claim of the last of the victim's blocks."""
    last = 0.0
    for own in claims_of(drill.ledger, drill.job, blocks).values():
        after = [at for at, actor in own if not actor.endswith(f":{pid}")]
        assert after, "nobody took the block over"
        last = max(last, (after[0] - drill.last_harm).total_seconds())
    return round(last, 2)


def test_a_worker_is_killed(drilled: Stack, long_run: Undisturbed, begin: Begin) -> None:
    drill = begin(drilled, "dask-worker in infer", LONG)
    service = f"dask-worker-{drill.random.randrange(2)}"
    drill.reach_share()
    pid = harm.pid_of(drill.layout, service)
    held = _stop_with_blocks(drill, pid)
    harm.kill(drill.layout, pid)
    drill.harmed()
    measured = drill.finish("SIGKILL to a Dask worker", long_run)
    measured.until_taken_over = _taken_over_after(drill, held, pid)
    assert measured.blocks_tried_again >= len(held)


def test_workers_are_killed_again_and_again(drilled: Stack, long_run: Undisturbed, begin: Begin) -> None:
    drill = begin(drilled, "dask-workers again and again", LONG)
    drill.reach_share()
    tried: set[str] = set()  # a block that is lost with its worker three times is quarantined: another drill's matter
    for index, _ in zip(cycle(drill.random.sample(range(2), 2)), range(KILLS), strict=False):
        pid = harm.pid_of(drill.layout, f"dask-worker-{index}")
        held = _stop_with_blocks(drill, pid, but=tried, seconds=120)
        tried.update(held)
        harm.kill(drill.layout, pid)
        drill.harmed()
    measured = drill.finish(f"SIGKILL to a Dask worker, {KILLS} times", long_run)
    assert measured.blocks_tried_again >= len(tried)


def test_a_frozen_worker_goes_on_after_its_lease(drilled: Stack, long_run: Undisturbed, begin: Begin) -> None:
    drill = begin(drilled, "dask-worker frozen", LONG)
    drill.reach_share()
    pid = harm.pid_of(drill.layout, f"dask-worker-{drill.random.randrange(2)}")
    held = _stop_with_blocks(drill, pid)
    drill.harmed()
    try:
        soon("another worker to take the blocks", lambda: _taken_over(drill, held, pid), 4 * TAKEN_OVER_SECONDS)
        late = drill.last_harm
    finally:
        os.kill(pid, signal.SIGCONT)
    assert late
    measured = drill.finish("SIGSTOP to a Dask worker past its lease, then SIGCONT", long_run)
    measured.until_taken_over = _taken_over_after(drill, held, pid)
