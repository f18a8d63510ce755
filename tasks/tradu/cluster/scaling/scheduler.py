"""The Dask scheduler from outside: its workers, how they retire, what waits there. One short call each.

And a client, for who needs one, of a scheduler that answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tradu import cluster
from tradu.errors import SystemicError

if TYPE_CHECKING:
    from distributed import Client

CALL_SECONDS = 2.0
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker that is at the scheduler. Shares are between 0 and 1."""

    name: str
    status: str
    """Dask's word: running, paused, closing_gracefully."""
    executing: int
    """Tasks it was working on when it last reported."""
    heard_at: float
    """When that was, by the scheduler's clock."""
    busy: float
    """Share of its threads that work, or of its CPU or GPU that is used: the larger one."""
    memory: float | None
    """Share of its memory limit that is used; None: it has none."""

    @property
    def stays(self) -> bool:
        """Whether it takes work."""
        return self.status != "closing_gracefully"


@contextmanager
def client(address: str, seconds: float) -> Iterator[Client]:
    """A client of a scheduler.

    It is asked first whether it answers: the limit of a `Client` is one for the connection alone, which the kernel
    makes even to a process that is frozen, and what is said over it then has none.

    Raises:
        SystemicError: it does not answer in so many seconds.
    """
    from distributed import Client

    workers(address, seconds)
    try:
        connected = Client(address, timeout=seconds, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise _silent(address) from error
    try:
        yield connected
    finally:
        connected.close()


def workers(address: str, seconds: float = CALL_SECONDS) -> dict[str, Any]:
    """What Dask says of a scheduler's workers, by their addresses.

    Raises:
        SystemicError: it does not answer in so many seconds.
    """

    async def ask(scheduler: Any) -> dict[str, Any]:
        found = await scheduler.identity(n_workers=-1)
        return dict(found["workers"])

    return _call(address, ask, seconds)


def look(address: str) -> list[WorkerView]:
    """The workers at a scheduler.

    Raises:
        SystemicError: it does not answer in 2 s.
    """
    return [_view(worker) for worker in workers(address).values()]


def retire(address: str, names: Sequence[str], *, remove: bool = False) -> None:
    """These workers take no further work; with `remove` the scheduler forgets them, and gives others what they held.

    Raises:
        SystemicError: the scheduler does not answer in 2 s.
    """

    async def ask(scheduler: Any) -> None:
        await scheduler.retire_workers(names=list(names), close_workers=False, remove=remove)

    _call(address, ask)


def alive(address: str, shards: Sequence[tuple[str, int]]) -> set[tuple[str, int]]:
    """Of which of these shards (job and number) the scheduler has batches that some worker will take.

    Raises:
        SystemicError: the scheduler does not answer in 2 s, or can't say.
    """
    from distributed.protocol.pickle import dumps

    async def ask(scheduler: Any) -> set[tuple[str, int]]:
        answer = await scheduler.run_function(function=dumps(cluster.alive), args=dumps((shards,)))
        if answer["status"] != "OK":
            raise SystemicError(f"the Dask scheduler at {address} can't say what it has: {answer['exception_text']}")
        return set(answer["result"])

    return _call(address, ask)


def _call(address: str, ask: Callable[[Any], Awaitable[_T]], seconds: float = CALL_SECONDS) -> _T:
    from distributed import Security
    from distributed.core import rpc

    async def run() -> _T:
        remote = rpc(address, connection_args=Security().get_connection_args("client"))
        try:
            return await ask(remote)
        finally:
            await remote.close_rpc()

    async def within() -> _T:
        return await asyncio.wait_for(run(), seconds)

    try:
        return asyncio.run(within())
    except (OSError, TimeoutError) as error:
        raise _silent(address) from error


def _silent(address: str) -> SystemicError:
    return SystemicError(f"the Dask scheduler at {address} does not answer: `tradu status` shows it")


def _view(worker: dict[str, Any]) -> WorkerView:
    metrics = worker["metrics"]
    executing = int(metrics.get("task_counts", {}).get("executing", 0))
    threads = max(1, worker["nthreads"])
    used = max(executing / threads, metrics.get("cpu", 0.0) / 100 / threads, metrics.get("gpu_utilization", 0.0) / 100)
    limit = worker["memory_limit"]
    return WorkerView(
        str(worker["name"]), worker["status"], executing, worker["last_seen"], min(1.0, used),
        metrics.get("memory", 0) / limit if limit else None,
    )  # fmt: skip
