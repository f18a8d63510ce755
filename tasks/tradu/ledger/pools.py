"""Pools of workers in the ledger: who leads, what is wanted, who brings it about, and what the ledger observes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tradu.ledger.connection import Transaction

STALE_EPOCH = "TR003"
"""SQLSTATE with which the database refuses what a controller writes after another one has taken over."""
FRESH_SECONDS = 15.0
"""An agent that was not seen for so long has no share of the workers that are wanted."""
MOST_BLOCKS_OF_A_JOB = 20_000
"""More waiting blocks than this are not counted: it is looked every second."""


@dataclass(frozen=True, slots=True)
class Pool:
    """How many workers a pool shall have. Times are Unix times of the ledger's clock."""

    pool: str
    wanted: int
    epoch: int
    paused: bool
    set_by: str | None
    direction: int
    changed_at: float
    spare_since: float | None
    decided_at: float
    roll_age_seconds: float | None
    """Workers that are older than this shall be started again."""


@dataclass(frozen=True, slots=True)
class Agent:
    """Who starts and stops workers of a pool."""

    agent: str
    pool: str
    prefix: str
    capacity: int
    running: int
    to_roll: int
    started_at: float
    unseen_seconds: float


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """What was decided about a pool."""

    at: datetime
    pool: str
    epoch: int
    before: int
    wanted: int
    rule: str
    reason: str
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FeedDecision:
    """What was decided about the batches of a shard at the cluster."""

    at: datetime
    pool: str
    job_id: UUID
    shard: int
    epoch: int
    """Of the shard's submission."""
    number: int
    """Of the decision, among those of its scheduler."""
    before: int
    most: int
    rule: str
    reason: str
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Latency:
    """How long blocks of a tier took lately, seconds."""

    tier: str
    blocks: int
    seconds: float
    """All of them together."""
    p50_seconds: float
    p95_seconds: float


def bucket_of(seconds: float) -> int:
    """The bucket of a duration: bucket n ends at 2^(n/4) ms, a fifth above the one before."""
    return max(0, min(100, math.ceil(4 * math.log2(max(seconds, 1e-3) * 1e3))))


def count_latencies(tx: Transaction, blocks: Iterable[tuple[str, float]]) -> None:
    """Add how long blocks took, as pairs of tier and seconds."""
    counted: dict[tuple[str, int], list[float]] = defaultdict(list)
    for tier, seconds in blocks:
        counted[tier, bucket_of(seconds)].append(seconds)
    if counted:
        tx.send(
            "count_latencies",
            tiers=[tier for tier, _ in counted],
            buckets=[bucket for _, bucket in counted],
            blocks=[len(own) for own in counted.values()],
            seconds=[sum(own) for own in counted.values()],
        )


def latencies(tx: Transaction) -> list[Latency]:
    """How long blocks took in the last one to two minutes, by tier."""
    by_tier: dict[str, list[tuple[int, int, float]]] = defaultdict(list)
    for tier, bucket, blocks, seconds in tx.tuples("recent_latencies"):
        by_tier[tier].append((bucket, blocks, seconds))
    return [
        Latency(
            tier, sum(n for _, n, _ in own), sum(s for _, _, s in own), _quantile(own, 0.5), _quantile(own, 0.95)
        )
        for tier, own in by_tier.items()
    ]  # fmt: skip


def _quantile(buckets: Sequence[tuple[int, int, float]], share: float) -> float:
    """The end of the bucket in which this share of the blocks is reached; at most a fifth too much."""
    wanted, seen = share * sum(blocks for _, blocks, _ in buckets), 0
    for bucket, blocks, _ in buckets:
        seen += blocks
        if seen >= wanted:
            return float(2 ** (bucket / 4) / 1e3)
    raise ValueError("there are no blocks")


def lead(tx: Transaction, holder: str, epoch: int, lease_seconds: float) -> int | None:
    """Take or keep the lead; the epoch, None where another one leads. `epoch`: the one held so far, 0 for none."""
    rows = tx.tuples("lead", holder=holder, epoch=epoch, lease_seconds=lease_seconds)
    return int(rows[0][0]) if rows else None


def pools(tx: Transaction) -> dict[str, Pool]:
    """Every pool by name."""
    return {pool.pool: pool for pool in tx.rows("pools", Pool)}


def agents(tx: Transaction) -> list[Agent]:
    """The agents that were seen lately, in order of their names."""
    return [agent for agent in tx.rows("agents", Agent) if agent.unseen_seconds <= FRESH_SECONDS]


def shares(wanted: int, capacities: Sequence[tuple[str, int]]) -> dict[str, int]:
    """How many workers each agent has of those wanted: as even as their capacities allow, the first names first."""
    left = dict(capacities)
    given = dict.fromkeys(left, 0)
    for _ in range(min(wanted, sum(left.values()))):
        name = min((n for n in left if left[n]), key=lambda n: (given[n], n))
        given[name] += 1
        left[name] -= 1
    return given


def share(name: str, pool: Pool | None, agents: Sequence[Agent], running: int) -> int:
    """How many workers an agent shall have. Nothing is taken away on a decision that was made before it was there."""
    own = next(agent for agent in agents if agent.agent == name)
    if pool is None:
        return running
    given = shares(pool.wanted, [(agent.agent, agent.capacity) for agent in agents])[name]
    return given if pool.paused or pool.decided_at > own.started_at else max(given, running)


def left_to_roll(tx: Transaction, pool: str) -> int:
    """Workers that are still to be started again; an agent that has not looked since it was asked counts as one."""
    age = pools(tx)[pool].roll_age_seconds or 0.0
    own = [agent for agent in agents(tx) if agent.pool == pool]
    return sum(agent.to_roll if agent.unseen_seconds < age else 1 for agent in own)
