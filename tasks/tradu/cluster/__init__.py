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
        isinstance(key, tuple) and key[:4] == prefix and _may_run(task) for key, task in dask_scheduler.tasks.items()
    )


def alive(shards: Sequence[tuple[str, int]], dask_scheduler: Any = None) -> set[tuple[str, int]]:
    """Runs on the Dask scheduler: of which of these shards (job and number) it has such batches, of any submission."""
    wanted = set(shards)
    return {
        key[1:3]
        for key, task in dask_scheduler.tasks.items()
        if isinstance(key, tuple) and key[1:3] in wanted and key[0] == KEY and _may_run(task)
    }


def _may_run(task: Any) -> bool:
    """Whether a task has not ended, and does not wait for workers that have gone: only a new submission helps that."""
    stranded = task.state == "no-worker" and bool(task.worker_restrictions or task.resource_restrictions)
    return task.state not in _ENDED and not stranded


def has_arrived(keys: Sequence[Any], dask_scheduler: Any = None) -> bool:
    """Runs on the Dask scheduler: whether it knows these tasks."""
    return all(key in dask_scheduler.tasks for key in keys)
