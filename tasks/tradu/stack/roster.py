"""What an agent does next with the workers of its machine: a pure function, asked again every second.

It remembers nothing that it can see: a new agent goes on where an old one was killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

LEAST_BEATS = 2
"""A worker that was told to retire is idle when it has reported so twice since: what it said before may be old."""
DRAIN_SECONDS = 60.0
"""So long a worker may work on what it has, before that is handed back."""
ROLL_AFTER_SECONDS = 2.0
"""A request to roll is so old when the first worker retires: one that has been started since is then surely younger."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker's service on this machine, and the worker at the Dask scheduler."""

    service: str
    up: bool
    """The supervisor keeps it running."""
    ending: bool = False
    """It was stopped and has not ended yet."""
    uptime_seconds: float = 0.0
    joined: bool = False
    """It is at the scheduler."""
    retiring: bool = False
    executing: int = 0
    draining_seconds: float | None = None
    """How long ago it was told to retire, by this agent."""
    beats: int = 0
    """How often it has reported since."""


class Do(StrEnum):
    """What is done with a worker."""

    START = "start"
    RETIRE = "retire"  # it takes no further work
    STOP = "stop"
    HAND_BACK = "hand_back"  # what it holds goes back, and it is stopped


def leaving(worker: Worker) -> bool:
    """Whether a worker runs that was told to retire."""
    return worker.up and (worker.retiring or worker.draining_seconds is not None)


def to_roll(workers: Sequence[Worker], roll_age_seconds: float | None) -> list[Worker]:
    """The workers that are older than the request to start all of them again.

    The supervisor takes both times of an uptime down to whole seconds, so that it may be off by one either way: none
    that is older is left out, and one that began less than `ROLL_AFTER_SECONDS` after the request may be among them.
    """
    if roll_age_seconds is None:
        return []
    return [w for w in workers if w.up and w.uptime_seconds + 1 > roll_age_seconds]


def plan(
    workers: Sequence[Worker], target: int, roll_age_seconds: float | None, *, cluster: bool
) -> list[tuple[Do, str]]:
    """What to do so that `target` workers run, none of them older than the last request to roll.

    Without a scheduler that answers (`cluster`) workers are only started: none could be drained. Rolling goes on with
    the next worker when all others are at work.
    """
    going = [w for w in workers if leaving(w)]
    staying = [w for w in workers if w.up and not leaving(w)]
    actions = [] if not cluster else [(do, w.service) for w in going if (do := _farewell(w))]
    down = [w for w in workers if not w.up and not w.ending]
    missing = target - len(staying)
    actions += [(Do.START, w.service) for w in down[: max(0, missing)]]
    if not cluster:
        return actions
    if missing < 0:
        return actions + [(Do.RETIRE, w.service) for w in staying[missing:]]
    old = to_roll(staying, roll_age_seconds) if (roll_age_seconds or 0.0) >= ROLL_AFTER_SECONDS else []
    if old and not going and all(w.joined for w in staying) and missing <= 0:
        actions.append((Do.RETIRE, old[0].service))
    return actions


def _farewell(worker: Worker) -> Do | None:
    if not worker.joined or (worker.executing == 0 and worker.beats >= LEAST_BEATS):
        return Do.STOP
    if worker.draining_seconds is not None and worker.draining_seconds > DRAIN_SECONDS:
        return Do.HAND_BACK
    return None
