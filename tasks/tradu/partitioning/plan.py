"""Groups batches to shards of about equal cost: few, however many batches there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tradu.ledger.rows import BatchSize

Cost = Callable[[str, str], float]
"""Cost of a million characters from one language to another, in CPU seconds."""


def shards(batches: Sequence[BatchSize], cost: Cost, *, max_shards: int, min_shard_chars: int) -> list[int]:
    """The shard of each batch: consecutive batches together, equal cost per shard, numbered from 0 without gaps."""
    if not batches:
        return []
    characters = sum(b.characters for b in batches)
    count = max(1, min(max_shards, len(batches), characters // min_shard_chars))
    costs = [b.characters * cost(b.source, b.target) for b in batches]
    total, before, placed = sum(costs), 0.0, []
    for own in costs:
        middle = before + own / 2
        placed.append(min(count - 1, int(middle * count / total)) if total else 0)
        before += own
    numbers = {old: new for new, old in enumerate(sorted(set(placed)))}
    return [numbers[p] for p in placed]
