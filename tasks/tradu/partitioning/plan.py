"""Groups batches to shards of about equal cost: so many that a worker has about a minute's work with each.

The number follows the pace that workers were measured at. It is chosen once for a job and kept in the ledger: a
partition that is run again cuts the same shards, however the pace has changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tradu.ledger.rows import BatchSize

Cost = Callable[[str, str], float]
"""Cost of a million characters from one language to another, in CPU seconds."""
Pace = Callable[[str, str], float | None]
"""What a million characters from one language to another have taken a worker of late, seconds; None: not measured."""
LEAST_BATCHES = 4
"""A shard of measured pace has no fewer: a task of Airflow's costs as much as a small batch does."""
MOST_BATCHES = 64
"""And no more, however fast they are, until there are as many shards as there may be: what is lost with a task, or
submitted again, stays small."""


class Rule(StrEnum):
    """What the number of shards follows from."""

    UNMEASURED = "unmeasured"
    PACE = "pace"
    FLOOR = "floor"
    CEILING = "ceiling"
    WORKERS = "workers"
    MOST = "most"


@dataclass(frozen=True, slots=True)
class Load:
    """What a job has, and what it meets. Characters are of source text, times target languages."""

    characters: int
    batches: int
    characters_per_second: float | None
    """Of one worker; None: nothing of the job was measured."""
    workers: int
    """That the machines carry, as far as the ledger knows."""
    seconds: float
    """For so long a shard shall keep a worker busy."""
    batch_characters: int
    """Of a full batch."""
    unmeasured_characters: int
    """A shard has no fewer, while nothing is measured."""
    most: int
    """Shards that there may be."""


@dataclass(frozen=True, slots=True)
class Sharding:
    """How many shards a job has, and why."""

    shards: int
    rule: Rule
    reason: str


def sharding(load: Load) -> Sharding:
    """The number of shards: one, or more of `load.seconds` each, within the bounds of their size and number.

    Where there is enough to do, at least one for each worker.
    """
    least, wanted, rule, reason = _size(load)
    count = max(1, min(math.ceil(load.characters / wanted), load.characters // least))
    if count < (workers := min(load.workers, load.batches, load.characters // least)):
        count, rule, reason = workers, Rule.WORKERS, f"one for each of {load.workers} workers, as far as it goes"
    if count > (most := max(1, min(load.most, load.batches))):
        count, rule, reason = most, Rule.MOST, f"no more than {load.most} shards, {load.batches} batches: {reason}"
    return Sharding(count, rule, reason)


def _size(load: Load) -> tuple[int, float, Rule, str]:
    """The fewest characters of a shard, how many it should have, and why."""
    if load.characters_per_second is None:
        least = load.unmeasured_characters
        return least, least, Rule.UNMEASURED, f"nothing was measured yet: no fewer than {least:,} characters each"
    least, most = LEAST_BATCHES * load.batch_characters, MOST_BATCHES * load.batch_characters
    wanted = load.characters_per_second * load.seconds
    reason = f"a worker does {load.characters_per_second:,.0f} characters a second, {wanted:,.0f} in {load.seconds:g} s"
    if wanted < least:
        return least, least, Rule.FLOOR, f"{reason}; no fewer than {least:,} each"
    if wanted > most:
        return least, most, Rule.CEILING, f"{reason}; no more than {most:,} each"
    return least, wanted, Rule.PACE, reason


def characters_per_second(batches: Sequence[BatchSize], pace: Pace) -> float | None:
    """The pace of those batches of a job whose languages were measured; the others are taken to be like them."""
    characters, seconds = 0, 0.0
    for batch in batches:
        if (measured := pace(batch.source, batch.target)) is not None:
            characters, seconds = characters + batch.characters, seconds + batch.characters * measured / 1e6
    return characters / seconds if seconds else None


def shards(batches: Sequence[BatchSize], cost: Cost, count: int) -> list[int]:
    """The shard of each batch: consecutive batches together, equal cost per shard, numbered from 0 without gaps."""
    costs = [b.characters * cost(b.source, b.target) for b in batches]
    total, before, placed = sum(costs), 0.0, []
    for own in costs:
        middle = before + own / 2
        placed.append(min(count - 1, int(middle * count / total)) if total else 0)
        before += own
    numbers = {old: new for new, old in enumerate(sorted(set(placed)))}
    return [numbers[p] for p in placed]
