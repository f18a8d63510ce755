"""The triggers: one waits for shards, one for the turn of a job. Each asks the ledger once a tick for all that wait."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSuccessEvent, TriggerEvent

log = logging.getLogger(__name__)
Outcome = Literal["done", "stalled", "stopped"]
RETRY_SECONDS = 5.0
"""After a ledger or scheduler that did not answer; also how rarely the scheduler is asked at all."""
SEEN_SECONDS = 10.0
TURN_SECONDS = 2.0
BUSY_SHARE = 10
"""The ledger is asked so rarely that asking takes no more than one part in this many of the time."""


@dataclass(slots=True)
class _Waiter:
    """A shard somebody waits for."""

    job_id: UUID
    shard: int
    outcome: asyncio.Future[Outcome]
    waiting: int = -1
    changed_at: float = field(default_factory=time.monotonic)

    def end(self, outcome: Outcome) -> None:
        """The waiting is over, unless it is already."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class ShardPoller:
    """Asks the ledger about every shard that is waited for, in one query a tick. Lives in one event loop.

    A ledger that can't be reached is asked again until it can: the shards go on by themselves meanwhile. Where the
    ledger shows nobody at work on a shard for a while, only the Dask scheduler knows whether its batches wait behind
    other work or are lost: it is asked about all such shards in one call. Where it can't be, nothing could be submitted
    to it either, and they wait on.
    """

    def __init__(self, dsn: str, scheduler: str, poll_seconds: float, stall_seconds: float) -> None:
        self._dsn, self._scheduler = dsn, scheduler
        self._poll, self._stall = poll_seconds, stall_seconds
        self._waiters: dict[tuple[UUID, int], list[_Waiter]] = {}
        self._seen_at = self._asked_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def wait(self, job_id: UUID, shard: int) -> Outcome:
        """Until no block of the shard wants a translation, or it is lost, or its job does not run any more."""
        waiter = _Waiter(job_id, shard, asyncio.get_running_loop().create_future())
        own = self._waiters.setdefault((job_id, shard), [])
        own.append(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            return await waiter.outcome
        finally:
            own.remove(waiter)
            if not own:
                self._waiters.pop((job_id, shard), None)

    async def _run(self) -> None:
        import psycopg

        from tradu.ledger.connection import TCP, instance_id
        from tradu.ledger.sql import QUERIES

        while self._waiters:
            try:
                async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True, **TCP) as connection:
                    while self._waiters:
                        took = await self._tick(connection)
                        await asyncio.sleep(max(self._poll, took * BUSY_SHARE))
                    await connection.execute(QUERIES["leave_instance"], {"instance_id": instance_id("trigger")})
                    self._seen_at = float("-inf")
            except Exception as error:  # whatever it is: who waits here would wait for ever
                said = f"{type(error).__name__}: {error}"
                log.warning("the ledger does not answer (%s); asking again in %s s", said, RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)

    async def _tick(self, connection: Any) -> float:
        from tradu.ledger.connection import instance_id, row_of
        from tradu.ledger.rows import ShardWatch
        from tradu.ledger.sql import QUERIES

        started, asked = time.monotonic(), list(self._waiters)
        if started - self._seen_at > SEEN_SECONDS:
            me = {"instance_id": instance_id("trigger"), "kind": "trigger"}
            await connection.execute(QUERIES["see_instance"], me)
            self._seen_at = started
        values = {"job_ids": [job for job, _ in asked], "shards": [shard for _, shard in asked]}
        async with connection.cursor(row_factory=row_of(ShardWatch)) as cursor:
            await cursor.execute(QUERIES["watch_shards"], values)
            watches = await cursor.fetchall()
        for name in set(asked) - {(w.job_id, w.shard) for w in watches}:  # a ledger that was restored has no such job
            for waiter in self._waiters.get(name, ()):
                waiter.end("stopped")
        waiters = [(waiter, w) for w in watches for waiter in self._waiters.get((w.job_id, w.shard), ())]
        quiet = [waiter for waiter, watch in waiters if self._judge(waiter, watch)]
        took = time.monotonic() - started
        if quiet and time.monotonic() - self._asked_at > RETRY_SECONDS:
            await self._tell_lost(quiet)
            self._asked_at = time.monotonic()
        return took

    def _judge(self, waiter: _Waiter, watch: Any) -> bool:
        """End the waiting where it is over; whether nothing has happened for too long otherwise."""
        now = time.monotonic()
        if watch.waiting != waiter.waiting or watch.leased:
            waiter.waiting, waiter.changed_at = watch.waiting, now
        outcome: Outcome | None = None
        if watch.waiting == 0:
            outcome = "done"
        elif watch.job_state != "RUNNING":
            outcome = "stopped"
        if outcome is None:
            return now - waiter.changed_at > self._stall
        waiter.end(outcome)
        return False

    async def _tell_lost(self, quiet: Sequence[_Waiter]) -> None:
        """Of shards that nobody works on, wake those of which Dask has nothing; the others wait in its queue."""
        from tradu.cluster.scaling import scheduler

        shards = sorted({(str(waiter.job_id), waiter.shard) for waiter in quiet})
        try:
            alive = await asyncio.to_thread(scheduler.alive, self._scheduler, shards)
        except Exception as error:  # whatever it is, the other shards' waiting must go on
            log.warning("%d shards wait: %s: %s", len(shards), type(error).__name__, error)
            return
        for waiter in quiet:
            if (str(waiter.job_id), waiter.shard) in alive:
                waiter.changed_at = time.monotonic()
            else:
                waiter.end("stalled")


_pollers: dict[asyncio.AbstractEventLoop, ShardPoller] = {}


def _poller() -> ShardPoller:
    """The poller of this event loop: one for all triggers of a triggerer."""
    from tradu.settings import get_settings

    loop = asyncio.get_running_loop()
    if loop not in _pollers:
        settings = get_settings()
        _pollers[loop] = ShardPoller(
            settings.ledger_dsn, settings.dask_scheduler, settings.poll_seconds, settings.stall_seconds
        )
    return _pollers[loop]


class ShardTrigger(BaseTrigger):
    """Waits until a shard is done and then ends its task.

    It ends the task itself rather than resume it: nothing is queued a second time while the scheduler may still hold
    the first pass's exit (that race fails tasks in Airflow 3.3), no process is started for nothing, and no XCom goes
    through the trigger, where it would be encoded twice. Only a stalled shard resumes its operator.
    """

    def __init__(self, job_id: str, shard: int) -> None:
        super().__init__()
        self.job_id = job_id
        self.shard = shard

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Import path and arguments."""
        return "tradu_airflow.triggers.ShardTrigger", {"job_id": self.job_id, "shard": self.shard}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event: success, failure, or a reason to submit again."""
        outcome = await _poller().wait(UUID(self.job_id), self.shard)
        if outcome == "done":
            yield TaskSuccessEvent()
        elif outcome == "stopped":
            yield TaskFailedEvent()
        else:
            yield TriggerEvent({"why": "blocks are open, nothing changes, and Dask has none of its batches"})


class TurnPoller:
    """Takes a turn at admission once a tick, for every job that waits here. Lives in one event loop.

    Triggerers may do so beside one another: the ledger has turns taken one at a time.
    """

    def __init__(self, poll_seconds: float) -> None:
        self._poll = poll_seconds
        self._waiters: dict[UUID, list[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None

    async def wait(self, job_id: UUID) -> None:
        """Until the job doesn't wait any more: it was let in, or has ended."""
        turn = asyncio.Event()
        own = self._waiters.setdefault(job_id, [])
        own.append(turn)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            await turn.wait()
        finally:
            own.remove(turn)
            if not own:
                self._waiters.pop(job_id, None)

    async def _run(self) -> None:
        while self._waiters:
            try:
                for job_id in await asyncio.to_thread(_take_turn, list(self._waiters)):
                    for turn in self._waiters.get(job_id, ()):
                        turn.set()
            except Exception as error:  # whatever it is: who waits here would wait for ever
                said = f"{type(error).__name__}: {error}"
                log.warning("no turn could be taken (%s); trying again in %s s", said, RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(self._poll)


def _take_turn(job_ids: list[UUID]) -> set[UUID]:
    import psycopg

    from tradu.admission import current_policy
    from tradu.errors import SystemicError
    from tradu.ledger import turns
    from tradu.ledger.connection import get_ledger

    try:
        return turns.turn_of(job_ids, get_ledger("trigger"), current_policy())
    except psycopg.Error as error:
        raise SystemicError(f"the ledger does not answer: {error}") from error


_turn_pollers: dict[asyncio.AbstractEventLoop, TurnPoller] = {}


class TurnTrigger(BaseTrigger):
    """Waits until it is a job's turn, or it has ended without one."""

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self.job_id = job_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Import path and arguments."""
        return "tradu_airflow.triggers.TurnTrigger", {"job_id": self.job_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, when the operator may ask again."""
        loop = asyncio.get_running_loop()
        await _turn_pollers.setdefault(loop, TurnPoller(TURN_SECONDS)).wait(UUID(self.job_id))
        yield TriggerEvent({"job_id": self.job_id})
