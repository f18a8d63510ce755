"""Workers of Airflow's LocalExecutor that end when their scheduler is lost, and that no lost worker can block.

They wait on a pipe whose other end each of them holds as well, so a scheduler that is killed leaves all of them behind
for ever, 70 MB each; and they wait with the pipe's lock in hand, so one of them that is killed stops all others. Here
they wait without the lock, and look whether their scheduler is still there. One that runs a task finishes it first: it
reports to the API server, not to the scheduler.
"""

from __future__ import annotations

import os
from multiprocessing.queues import SimpleQueue
from multiprocessing.reduction import ForkingPickler
from typing import Any

LOOK_SECONDS = 1.0


def end_with_this_process() -> None:
    """From now on, processes that this one forks stop waiting for work when it is gone."""
    scheduler, plain = os.getpid(), SimpleQueue.get
    forker, is_worker = scheduler, False

    def forking() -> None:
        nonlocal forker
        forker = os.getpid()

    def forked() -> None:
        nonlocal is_worker
        # what a worker forks in turn is none. Not by getppid(): the scheduler may be gone before its child first runs
        is_worker = forker == scheduler

    def get(queue: Any) -> Any:
        return _next(queue, scheduler) if is_worker else plain(queue)

    os.register_at_fork(before=forking, after_in_child=forked)
    SimpleQueue.get = get  # type: ignore[assignment, method-assign]


def _next(queue: Any, scheduler: int) -> Any:
    """The next item of a queue.

    Raises:
        EOFError: who puts them in is gone; LocalExecutor's workers end at it.
    """
    while os.getppid() == scheduler:
        # of those that an item wakes up, one finds it
        if queue._poll(LOOK_SECONDS) and queue._rlock.acquire(timeout=LOOK_SECONDS):
            try:
                item = queue._reader.recv_bytes() if queue._poll(0) else None
            finally:
                queue._rlock.release()
            if item is not None:
                return ForkingPickler.loads(item)
    raise EOFError
