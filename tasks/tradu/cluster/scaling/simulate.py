"""A pool in simulated time: the real policy over a trace of arrivals, without clock, chance or workers.

Work is a fluid: a worker does `1 / block_seconds` blocks a second, first come first served. Workers come after
`start_seconds` and leave at once. What the policy sees is one tick old, as it is on a machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from tradu.cluster.scaling.decide import SOURCES, Decision, Signals, State, decide
from tradu.cluster.scaling.policy import Policy


@dataclass(frozen=True, slots=True)
class Load:
    """What happens in one tick of a trace."""

    blocks: float
    """Blocks that arrive."""
    block_seconds: float = 0.1
    error_rate: float = 0.0
    stale: bool = False
    """Nothing is heard of the cluster."""


@dataclass(frozen=True, slots=True)
class Step:
    """How the pool stood at the end of a tick."""

    seconds: float
    queued: float
    oldest_seconds: float
    workers: int
    decision: Decision


def simulate(
    policy: Policy, loads: Sequence[Load], capacity: int, *, start: int | None = None, tick: float = 1.0,
    start_seconds: float = 5.0,
) -> list[Step]:  # fmt: skip
    """The pool's life under these loads, one each `tick` seconds; it begins with `start` workers, or with the floor."""
    pool = State(policy.bounds(capacity)[0] if start is None else start)
    queue: deque[tuple[float, float]] = deque()  # time of arrival, blocks
    starting: deque[float] = deque()  # when each worker that was asked for is there
    workers, queued, silent, steps = pool.wanted, 0.0, 0.0, list[Step]()
    for number, load in enumerate(loads):
        now = number * tick
        if load.blocks:
            queue.append((now, load.blocks))
            queued += load.blocks
        while starting and starting[0] <= now:
            starting.popleft()
            workers += 1
        busy = _work(queue, workers * tick, load.block_seconds) / (workers * tick) if workers else 0.0
        queued = max(0.0, queued - busy * workers * tick / load.block_seconds) if queue else 0.0
        oldest = now + tick - queue[0][0] if queue else 0.0
        silent = silent + tick if load.stale else 0.0
        ages = dict.fromkeys(SOURCES, 0.0) | {"scheduler": silent}
        signals = Signals(
            workers, capacity, round(queued), oldest, load.block_seconds, load.error_rate, busy, ages=ages
        )
        decision = decide(policy, pool, signals, now + tick)
        pool = decision.state
        missing = pool.wanted - workers - len(starting)
        starting.extend([now + tick + start_seconds] * missing)
        for _ in range(-missing):
            if starting:
                starting.pop()
            else:
                workers -= 1
        steps.append(Step(now + tick, queued, oldest, workers, decision))
    return steps


def _work(queue: deque[tuple[float, float]], worker_seconds: float, block_seconds: float) -> float:
    """Take from the queue what can be done in this time; how much of it that took."""
    left = worker_seconds / block_seconds
    while queue and left > 1e-9:
        arrived, blocks = queue.popleft()
        done = min(blocks, left)
        left -= done
        if blocks - done > 1e-9:
            queue.appendleft((arrived, blocks - done))
    return worker_seconds - max(0.0, left) * block_seconds
