"""How many workers a pool shall have: a pure function of what is observed, in the shape of Dask's `Adaptive`.

The queue alone makes a pool grow, and being busy alone keeps it from shrinking. So under a constant load a pool grows
until its queue goes down, and shrinks at most to what the load keeps busy: it comes to rest. A share of busy workers
that made a pool grow would never do so, since every worker is busy while a queue lasts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tradu.cluster.scaling.policy import Policy


class Rule(StrEnum):
    """What a decision rests on."""

    PAUSED = "paused"  # a person has set the number, or paused the pool
    LEDGER = "ledger"  # the ledger takes no writes, or isn't trusted
    STALE = "stale"
    ERRORS = "errors"
    MEMORY = "memory"
    SLOW = "slow"
    IDLE = "idle"  # work waits, and the workers that are there do nothing: more of them would not help
    COOLING = "cooling"
    CEILING = "ceiling"
    FLOOR = "floor"
    QUEUE = "queue"
    AGE = "age"
    SPARE = "spare"
    STEADY = "steady"


@dataclass(frozen=True, slots=True)
class TierLatency:
    """Seconds a block takes in a tier."""

    tier: str
    blocks: int
    p50_seconds: float
    p95_seconds: float


@dataclass(frozen=True, slots=True)
class Signals:
    """What is observed of a pool at one time. Shares are between 0 and 1; None: not known."""

    workers: int
    """Workers that the Dask scheduler gives work to."""
    capacity: int
    """Workers that the machines of the pool carry."""
    queued: int = 0
    """Blocks that wait and may be claimed."""
    oldest_seconds: float = 0.0
    block_seconds: float | None = None
    """Mean time of a block, all tiers together."""
    error_rate: float | None = None
    """Share of blocks whose attempt failed."""
    busy: float | None = None
    """Share of workers that work, or of their CPU or GPU that is used: the larger one."""
    memory: float | None = None
    """Share of its memory limit that the fullest worker uses."""
    latency: tuple[TierLatency, ...] = ()
    ages: Mapping[str, float] = field(default_factory=dict)
    """Seconds since each of SOURCES was last heard; of workers, the most silent one. A missing one was never heard."""
    ledger_writable: bool = True


SOURCES = ("ledger", "scheduler", "workers", "agents")
IDLE_BELOW = 0.1


@dataclass(frozen=True, slots=True)
class State:
    """What a pool remembers between two decisions. Times are Unix times of the ledger's clock."""

    wanted: int
    changed_at: float = 0.0
    direction: int = 0
    """Of the last change: 1 grown, -1 shrunk, 0 none yet."""
    spare_since: float | None = None
    """Since when fewer workers would do."""
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """How many workers are wanted, on which rule, and why in words."""

    state: State
    rule: Rule
    reason: str

    @property
    def wanted(self) -> int:
        """Workers wanted."""
        return self.state.wanted


def decide(policy: Policy, state: State, signals: Signals, now: float) -> Decision:
    """The next number of workers of a pool, and why.

    Never grows while a signal is stale, the error rate is above its limit, workers are full, blocks take too long, or
    the ledger can't be written. Shrinks by `step_down` at most, when fewer have sufficed for a whole cool-down.
    """
    if state.paused:
        return Decision(state, Rule.PAUSED, "paused by a person: `tradu scale resume` goes on")
    if blind := _blind(policy, signals):
        return Decision(state, *blind)
    return _bounded(policy, state, signals, now) or _led(policy, state, signals, now)


def _bounded(policy: Policy, state: State, signals: Signals, now: float) -> Decision | None:
    """The way back, for a pool that its bounds have left behind."""
    low, high, top = policy.bounds(signals.capacity)
    if state.wanted > high:
        return _shrink(policy, state, high, now, Rule.CEILING, f"the {top} allows {high}")
    if state.wanted >= low:
        return None
    if barred := _barred(policy, signals):
        return Decision(state, *barred)
    return _grow(replace(state, wanted=low), now, Rule.FLOOR, f"the floor is {low}")


def _led(policy: Policy, state: State, signals: Signals, now: float) -> Decision:
    """What the load asks for."""
    low, high, top = policy.bounds(signals.capacity)
    ready = state.direction == 0 or now - state.changed_at >= policy.cooldown_seconds
    need, rule, why = _need(policy, state, signals, ready=ready)
    if need > state.wanted:
        return _want_more(policy, replace(state, spare_since=None), signals, now, (need, rule, why), (high, top))
    enough = max(low, math.ceil(_kept(policy, signals) / (1 - policy.hysteresis) - 1e-9))
    if enough < state.wanted:
        return _shrink(policy, state, enough, now, Rule.SPARE, f"{enough} would do: {_load(signals)}")
    return Decision(replace(state, spare_since=None), Rule.STEADY, _load(signals))


def _blind(policy: Policy, signals: Signals) -> tuple[Rule, str] | None:
    """Why nothing can be decided at all: what isn't seen, or can't be written down, isn't acted on."""
    if not signals.ledger_writable:
        return Rule.LEDGER, "the ledger takes no writes, or isn't trusted: see `tradu ledger status`"
    for source in SOURCES:
        age = signals.ages.get(source)
        if age is None or age > policy.stale_seconds:
            said = "never" if age is None else f"for {age:.0f} s not"
            return Rule.STALE, f"{source}: {said} heard, nothing is changed on what was true before"
    return None


def _barred(policy: Policy, signals: Signals) -> tuple[Rule, str] | None:
    """Why the pool must not grow now, whatever waits."""
    if signals.error_rate is not None and signals.error_rate > policy.error_rate:
        return Rule.ERRORS, f"{signals.error_rate:.1%} of the blocks fail, the limit is {policy.error_rate:.1%}"
    if signals.memory is not None and signals.memory > policy.memory:
        return Rule.MEMORY, f"a worker uses {signals.memory:.0%} of its memory, the limit is {policy.memory:.0%}"
    slowest = max(signals.latency, key=lambda tier: tier.p95_seconds, default=None)
    if policy.p95_seconds is not None and slowest is not None and slowest.p95_seconds > policy.p95_seconds:
        said = f"p95 of a block in tier {slowest.tier} is {slowest.p95_seconds:.2g} s"
        return Rule.SLOW, f"{said}, the limit is {policy.p95_seconds:g} s"
    return None


def _need(policy: Policy, state: State, signals: Signals, *, ready: bool) -> tuple[int, Rule, str]:
    """How many workers the queue asks for; what is wanted already where it asks for no more."""
    queued = _queue_need(policy, signals)
    if queued > state.wanted * (1 + policy.hysteresis):
        said = f"{signals.queued} blocks wait: {queued:.1f} workers do them in {policy.drain_seconds:g} s"
        return math.ceil(queued), Rule.QUEUE, said
    # one more worker takes a while to show: the age alone asks for it once a cool-down
    if ready and signals.queued and signals.oldest_seconds > policy.oldest_seconds:
        return state.wanted + 1, Rule.AGE, f"a block has waited for {signals.oldest_seconds:.0f} s"
    return state.wanted, Rule.STEADY, ""


def _want_more(
    policy: Policy, state: State, signals: Signals, now: float, asked: tuple[int, Rule, str], bound: tuple[int, str]
) -> Decision:
    (need, rule, why), (high, top) = asked, bound
    target = min(need, state.wanted + policy.step_up, high)
    if target <= state.wanted:
        return Decision(state, Rule.CEILING, f"{why}; the {top} allows {high}")
    barred = _barred(policy, signals)
    if barred is None and signals.workers and signals.busy is not None and signals.busy < IDLE_BELOW:
        barred = Rule.IDLE, f"{signals.workers} workers are there, and {signals.busy:.0%} of them work"
    if barred:
        return Decision(state, barred[0], f"{barred[1]}; {why}")
    if state.direction < 0 and now - state.changed_at < policy.cooldown_seconds:
        return Decision(state, Rule.COOLING, f"{why}; it shrank {now - state.changed_at:.0f} s ago")
    return _grow(replace(state, wanted=target), now, rule, why)


def _grow(state: State, now: float, rule: Rule, why: str) -> Decision:
    return Decision(replace(state, changed_at=now, direction=1, spare_since=None), rule, why)


def _shrink(policy: Policy, state: State, enough: int, now: float, rule: Rule, why: str) -> Decision:
    since = now if state.spare_since is None else state.spare_since
    waited = now - max(since, state.changed_at if state.direction else since)
    if waited < policy.cooldown_seconds:
        left = policy.cooldown_seconds - waited
        return Decision(replace(state, spare_since=since), Rule.COOLING, f"{why}; it shrinks in {left:.0f} s")
    target = max(enough, state.wanted - policy.step_down)
    return Decision(replace(state, wanted=target, changed_at=now, direction=-1, spare_since=since), rule, why)


def _queue_need(policy: Policy, signals: Signals) -> float:
    """Workers that would do what waits within the time that it may take."""
    seconds = policy.block_seconds if signals.block_seconds is None else signals.block_seconds
    return signals.queued * seconds / policy.drain_seconds


def _kept(policy: Policy, signals: Signals) -> float:
    """Workers that the present load needs. Where nobody knows how busy they are, all of them."""
    busy = 1.0 if signals.busy is None else signals.busy
    return max(_queue_need(policy, signals), busy * signals.workers / policy.busy)


def _load(signals: Signals) -> str:
    busy = "" if signals.busy is None else f", {signals.busy:.0%} busy"
    return f"{signals.workers} workers{busy}, {signals.queued} blocks wait"
