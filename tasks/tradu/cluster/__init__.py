"""The cluster: what runs inside Dask workers, and how shards are handed to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

KEY = "run_batch"
WARM_KEY = "load_models"
FEEDERS = "tradu-feeders"
"""What the scheduler's plugin is called that feeds shards (`tradu.cluster.feed`)."""
METRIC = "tradu_models"
"""The name under which a worker's heartbeat carries the models that it holds, and its pool."""
DEFAULT_POOL = "default"
"""The pool of workers that say nothing, and of tiers that have none."""
_ENDED = frozenset({"memory", "erred", "released", "forgotten"})


def resource(pool: str) -> str:
    """The Dask resource that workers of a pool have."""
    return f"pool-{pool}"


def is_alive(job: str, shard: int, epoch: int, dask_scheduler: Any = None) -> bool:
    """Runs on the Dask scheduler: whether a submission has unfinished batches that a worker may take, or will have."""
    prefix = (KEY, job, shard, epoch)
    left = [
        task
        for key, task in dask_scheduler.tasks.items()
        if isinstance(key, tuple) and key[:4] == prefix and task.state not in _ENDED
    ]
    if left:
        return any(_may_run(task) for task in left)
    feeders = dask_scheduler.plugins.get(FEEDERS)
    return feeders is not None and feeders.feeds(job, shard, epoch)


def alive(shards: Sequence[tuple[str, int]], dask_scheduler: Any = None) -> set[tuple[str, int]]:
    """Runs on the Dask scheduler: of which of these shards (job and number) it has such batches, of any submission."""
    wanted, left = set(shards), dict[tuple[str, int], bool]()
    for key, task in dask_scheduler.tasks.items():
        if isinstance(key, tuple) and key[1:3] in wanted and key[0] == KEY and task.state not in _ENDED:
            left[key[1:3]] = left.get(key[1:3], False) or _may_run(task)
    feeders = dask_scheduler.plugins.get(FEEDERS)
    fed = set() if feeders is None else feeders.fed()
    return {shard for shard in wanted if left.get(shard, shard in fed)}


def _may_run(task: Any) -> bool:
    """Whether a task has not ended, and does not wait for workers that have gone: only a new submission helps that."""
    stranded = task.state == "no-worker" and bool(task.worker_restrictions or task.resource_restrictions)
    return task.state not in _ENDED and not stranded


def has_arrived(keys: Sequence[Any], dask_scheduler: Any = None) -> bool:
    """Runs on the Dask scheduler: whether it knows these tasks."""
    return all(key in dask_scheduler.tasks for key in keys)
