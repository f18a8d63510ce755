"""Which workers serve which tiers: a tier may have a pool of its own (`TRADU_TIER_POOLS`).

A worker translates a block with the tiers of its own pool and of the default one. What must go on to a tier of another
pool waits for it in a batch of that tier, and is done there from the start, as one worker would have done all of it:
where a block is translated changes nothing of what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence

from tradu.cluster import DEFAULT_POOL, resource
from tradu.cluster.placement import Host
from tradu.cluster.segments import Row
from tradu.inference.cascade import Plan
from tradu.inference.model import Route
from tradu.inference.routes import TIERS, is_higher, tier_of
from tradu.quality import checks
from tradu.settings import Settings

DEFAULT = DEFAULT_POOL
_BATCHES = 500_000_000
"""Batches of a job that there can be; those of blocks that wait for a tier are numbered from here on."""


def pool_of(tier: str, settings: Settings) -> str:
    """The pool that serves a tier."""
    return settings.tier_pools.get(tier, DEFAULT)


def own(routes: Sequence[Route], settings: Settings, pool: str | None = None) -> list[Route]:
    """The routes before the first one whose tier another pool serves than this process's (or `pool`)."""
    mine = (DEFAULT, pool or settings.pool)
    found = list[Route]()
    for route in routes:
        if pool_of(tier_of(route), settings) not in mine:
            break
        found.append(route)
    return found


def without_others(routes: Sequence[Route], settings: Settings) -> list[Route]:
    """All routes but those whose tier another pool serves."""
    return [route for route in routes if pool_of(tier_of(route), settings) in (DEFAULT, settings.pool)]


def batch_of(batch: int, tier: str) -> int:
    """The number of the batch in which blocks of a batch wait for a tier."""
    return batch % _BATCHES + _BATCHES * TIERS.index(tier)


def others_of(batch: int, settings: Settings) -> dict[int, str]:
    """The batches in which blocks of a batch may wait for tiers that this process does not serve, with their pools."""
    pool_by_number = {batch_of(batch, tier): pool_of(tier, settings) for tier in TIERS}
    mine = (DEFAULT, settings.pool)
    return {number: pool for number, pool in pool_by_number.items() if number > batch and pool not in mine}


def must_go_on(row: Row, tier: str, plan: Plan) -> bool:
    """Whether what was made of a segment is not good enough, and a higher tier, or any other, would be next."""
    if row.known:
        return False
    return bool(checks.failed(row.checks)) or (row.checks.score < plan.climb_below and is_higher(tier, row.tier))


def where(pool: str, hosts: Sequence[Host], again: bool) -> tuple[dict[str, float], bool]:
    """The Dask resources that a task of a pool asks for, and whether it must do without that pool.

    Where the pool has no worker, the task waits for one; `again`, at the next submission of its shard, it does without.
    """
    alone = pool != DEFAULT and again and not any(host.pool == pool for host in hosts)
    needed = DEFAULT if alone else pool
    if needed == DEFAULT and all(host.pool == DEFAULT for host in hosts):
        return {}, alone
    return {resource(needed): 1.0}, alone
