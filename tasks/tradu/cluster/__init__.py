"""The cluster: what runs inside Dask workers, and how shards are handed to them."""

from __future__ import annotations

from typing import Any

KEY = "run_batch"
_ENDED = frozenset({"memory", "erred", "released", "forgotten"})


def is_alive(job: str, shard: int, epoch: int, dask_scheduler: Any = None) -> bool:
    """Runs on the Dask scheduler: whether it still has unfinished batches of a submission."""
    prefix = (KEY, job, shard, epoch)
    return any(
        isinstance(key, tuple) and key[:4] == prefix and task.state not in _ENDED
        for key, task in dask_scheduler.tasks.items()
    )
