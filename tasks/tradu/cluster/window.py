"""How many batches of a shard are at the cluster at once: up by a step, down by a share, as TCP finds its rate.

A pure function of what each batch that comes back says. More are sent while all is well; fewer when batches take longer
than they used to, when they wait for a worker for longer than they take, when the store or the ledger is slow, when
blocks fail, or when a worker is short of memory (Chiu and Jain: Analysis of the increase and decrease algorithms for
congestion avoidance in computer networks, 1989; what is usual is a moving floor, as in TCP Vegas and in Netflix's
concurrency-limits).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

DECREASE = 0.7
STEPS = 16
"""So many steps, a round each, lead from nothing to the most."""
SLOWER = 2.0
"""Times of what is usual from which on batches count as slow."""
DOWNSTREAM_SLOWER = 3.0
LEAST_SECONDS = 0.25
"""What takes less than this for a batch is never slow: a busy processor does that."""
WAITS = 2.0
"""Times of its own work for which a batch may wait for a worker."""
ERRORS = 0.05
"""Share of blocks whose attempt failed, above which fewer are sent."""
USUAL_ROUNDS = 64
"""What store and ledger usually take follows what is slower in about so many rounds."""
HELPED = 0.85
"""Sending fewer batches helps, when they take no more than this share of what they took before. Where it doesn't, the
texts are harder, and that is usual from then on."""


GROWS = "grows"
WORKERS = "workers"


class Cause(StrEnum):
    """Why fewer batches are sent."""

    NONE = ""
    MEMORY = "memory"
    ERRORS = "errors"
    DOWNSTREAM = "downstream"
    LATENCY = "latency"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Fewest and most batches of a shard at the cluster."""

    floor: int
    ceiling: int

    @classmethod
    def of(cls, threads: int) -> Bounds:
        """For a pool of so many threads: at most one that works and one that waits for each, at least an eighth."""
        return cls(max(1, threads // 8), max(2, 2 * threads))


@dataclass(frozen=True, slots=True)
class Sample:
    """What a batch that came back says."""

    seconds: float
    """It was worked on."""
    waited_seconds: float
    """It waited for a worker before."""
    downstream_seconds: float = 0.0
    """Of the work: waiting for the store and the ledger."""
    characters: int = 0
    """It had; 0: nothing of it was translated."""
    done: int = 0
    """Blocks with a result."""
    failed: int = 0
    """Blocks whose attempt failed."""
    pressed: bool = False
    """A worker of the pool is paused, or short of memory."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A quotient that follows what comes in, as means of both parts: a small batch counts for little."""

    above: float = 0.0
    below: float = 0.0

    def after(self, above: float, below: float, share: float) -> Mean:
        """The mean, of which `share` is new; what comes first counts whole."""
        share = share if self.below else 1.0
        return Mean(self.above + share * (above - self.above), self.below + share * (below - self.below))

    @property
    def value(self) -> float:
        """The quotient; 0: nothing came in."""
        return self.above / self.below if self.below else 0.0


@dataclass(frozen=True, slots=True)
class Level:
    """How something was of late, and how it usually is."""

    recent: Mean = field(default_factory=Mean)
    usual: float = 0.0

    def after(self, above: float, below: float, share: float, rise: float = 0.0) -> Level:
        """After another measurement, of which `recent` takes a share. `usual` falls with it, and rises by `rise`."""
        recent = self.recent.after(above, below, share)
        if not self.usual or recent.value <= self.usual:
            return Level(recent, recent.value)
        return Level(recent, self.usual + (recent.value - self.usual) * rise)

    def is_slow(self, times: float) -> bool:
        """Whether it is so many times of what is usual, and takes a batch longer than nothing."""
        return self.recent.value > times * self.usual and self.recent.above > LEAST_SECONDS


@dataclass(frozen=True, slots=True)
class Window:
    """How many batches a shard may have at the cluster, and what that follows from."""

    size: float
    pace: Level = field(default_factory=Level)
    """Seconds a character."""
    downstream: Level = field(default_factory=Level)
    """Seconds a batch at the store and the ledger."""
    waits: Mean = field(default_factory=Mean)
    """Waiting in relation to work."""
    failing: Mean = field(default_factory=Mean)
    """Share of blocks whose attempt failed."""
    until_next: float = 0.0
    """Batches to come back before it changes again, after it shrank: those sent before, and a round of those since."""
    slow_pace: float = 0.0
    """Seconds a character, when it last shrank because of them; 0: it grew since."""
    cause: Cause = Cause.NONE
    """Why it last shrank; none, when it has grown back."""
    why: str = ""

    @property
    def limit(self) -> int:
        """Whole batches."""
        return int(self.size)


@dataclass(frozen=True, slots=True)
class Change:
    """A decision: so many batches at the cluster instead of so many."""

    before: int
    limit: int
    rule: str
    """The cause; `grows`, or `workers` where more or fewer of them set other bounds."""
    why: str
    inputs: Mapping[str, Any]
    """What it follows from (`replayed`)."""


def change(before: Window, sample: Sample, bounds: Bounds, after: Window) -> Change | None:
    """What a step from one window to the other has decided; None: the number is the same."""
    if after.limit == before.limit:
        return None
    inputs = {"window": asdict(before), "sample": asdict(sample), "bounds": asdict(bounds)}
    if after.limit < before.limit and after.until_next > before.until_next:
        rule, why = after.cause.value, after.why
    elif after.limit > before.limit and not after.until_next:
        rule, why = GROWS, "all is well"
    else:
        rule, why = WORKERS, f"the pool's workers can have {bounds.floor} to {bounds.ceiling}"
    return Change(before.limit, after.limit, rule, why, inputs)


def replayed(inputs: Mapping[str, Any]) -> Window:
    """The window that follows from the inputs of a decision: the same as then."""
    kept = dict(inputs["window"])
    for level in ("pace", "downstream"):
        kept[level] = Level(Mean(**kept[level]["recent"]), kept[level]["usual"])
    for mean in ("waits", "failing"):
        kept[mean] = Mean(**kept[mean])
    kept["cause"] = Cause(kept["cause"])
    return step(Window(**kept), Sample(**inputs["sample"]), Bounds(**inputs["bounds"]))


def begin(bounds: Bounds) -> Window:
    """The window of a shard of which nothing is known: as many as there may be."""
    return Window(bounds.ceiling)


def step(window: Window, sample: Sample, bounds: Bounds) -> Window:
    """The window after a batch has come back: a step larger a round, or, once a round, smaller by a share."""
    seen = _after(window, sample)
    cause, why = _trouble(seen, sample)
    left, pace = max(0.0, seen.until_next - 1), seen.pace.recent
    if seen.slow_pace and left >= seen.size:  # what was sent before it shrank comes back
        seen = replace(seen, slow_pace=max(seen.slow_pace, pace.value))
    if cause is Cause.LATENCY and left == 0 and seen.slow_pace and pace.value > HELPED * seen.slow_pace:
        seen, cause = replace(seen, pace=Level(pace, pace.value), slow_pace=0.0), Cause.NONE
    if cause and left == 0:
        size = min(max(float(bounds.floor), seen.size * DECREASE), bounds.ceiling)
        slow = pace.value if cause is Cause.LATENCY else 0.0
        return replace(seen, size=size, until_next=seen.size + size, slow_pace=slow, cause=cause, why=why)
    if cause or left:
        return replace(seen, size=min(max(float(bounds.floor), seen.size), bounds.ceiling), until_next=left)
    size = min(max(float(bounds.floor), seen.size + max(1.0, bounds.ceiling / STEPS) / seen.size), bounds.ceiling)
    grown = replace(seen, size=size, until_next=0.0, slow_pace=0.0)
    return replace(grown, cause=Cause.NONE, why="") if size >= bounds.ceiling / 2 else grown


def _after(window: Window, sample: Sample) -> Window:
    """The window with what a batch says taken in."""
    share = min(0.5, 2 / window.size)  # what counts is about half a round
    if sample.done or sample.failed:
        tried = sample.done + sample.failed
        window = replace(window, failing=window.failing.after(sample.failed, tried, share))
    if not sample.characters or not sample.seconds:
        return window
    return replace(
        window,
        pace=window.pace.after(sample.seconds, sample.characters, share),
        downstream=window.downstream.after(sample.downstream_seconds, 1, share, 1 / (USUAL_ROUNDS * window.size)),
        waits=window.waits.after(sample.waited_seconds, sample.seconds, share),
    )


def _trouble(window: Window, sample: Sample) -> tuple[Cause, str]:
    """Why the cluster should have fewer batches; the gravest first."""
    if sample.pressed:
        return Cause.MEMORY, "a worker is short of memory"
    if window.failing.value > ERRORS:
        return Cause.ERRORS, f"{window.failing.value:.1%} of the blocks fail"
    pace, downstream, waits = window.pace, window.downstream, window.waits
    if downstream.is_slow(DOWNSTREAM_SLOWER):
        said = f"{downstream.recent.value:.2g} s a batch, usually {downstream.usual:.2g} s"
        return Cause.DOWNSTREAM, f"store and ledger take {said}"
    if pace.is_slow(SLOWER):
        said = f"{pace.recent.value * 1e6:.3g} s a million characters, usually {pace.usual * 1e6:.3g}"
        return Cause.LATENCY, said
    if waits.value > WAITS and waits.above > LEAST_SECONDS:
        return Cause.QUEUE, f"batches wait {waits.value:.2g} times as long as they take"
    return Cause.NONE, ""
