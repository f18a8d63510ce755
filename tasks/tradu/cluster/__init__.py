"""The cluster: what runs inside Dask workers, and how shards are handed to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

KEY = "run_batch"
WARM_KEY = "load_models"
_ENDED = frozenset({"memory", "erred", "released", "forgotten"})


def is_alive(job: str, shard: int, epoch: int, dask_scheduler: Any = None) -> bool:
    """Runs on the Dask scheduler: whether it still has unfinished batches of a submission that some worker may take."""
    prefix = (KEY, job, shard, epoch)
    return any(
        isinstance(key, tuple) and key[:4] == prefix and task.state not in _ENDED and not _stranded(task)
        for key, task in dask_scheduler.tasks.items()
    )


def _stranded(task: Any) -> bool:
    """Whether a task may only run on workers that have gone: nothing but a new submission helps it."""
    return task.state == "no-worker" and bool(task.worker_restrictions or task.resource_restrictions)


def has_arrived(keys: Sequence[Any], dask_scheduler: Any = None) -> bool:
    """Runs on the Dask scheduler: whether it knows these tasks."""
    return all(key in dask_scheduler.tasks for key in keys)
