"""The triggers: one waits for shards, one for the turn of a job. Each asks the ledger once a tick for all that wait."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSuccessEvent, TriggerEvent

log = logging.getLogger(__name__)
Outcome = Literal["done", "stalled", "stopped"]
RETRY_SECONDS = 5.0
SEEN_SECONDS = 10.0
TURN_SECONDS = 2.0
BUSY_SHARE = 10
"""The ledger is asked so rarely that asking takes no more than one part in this many of the time."""


@dataclass(slots=True)
class _Waiter:
    """A shard somebody waits for."""

    outcome: asyncio.Future[Outcome]
    waiting: int = -1
    changed_at: float = field(default_factory=time.monotonic)


class ShardPoller:
    """Asks the ledger about every shard that is waited for, in one query a tick. Lives in one event loop.

    A ledger that can't be reached is asked again until it can: the shards go on by themselves meanwhile.
    """

    def __init__(self, dsn: str, poll_seconds: float, stall_seconds: float) -> None:
        self._dsn, self._poll, self._stall = dsn, poll_seconds, stall_seconds
        self._waiters: dict[tuple[UUID, int], list[_Waiter]] = {}
        self._seen_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def wait(self, job_id: UUID, shard: int) -> Outcome:
        """Until no block of the shard wants a translation, or nothing works on it, or its job does not run any more."""
        waiter = _Waiter(asyncio.get_running_loop().create_future())
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

        from tradu.ledger.connection import instance_id
        from tradu.ledger.sql import QUERIES

        while self._waiters:
            try:
                async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
                    while self._waiters:
                        took = await self._tick(connection)
                        await asyncio.sleep(max(self._poll, took * BUSY_SHARE))
                    await connection.execute(QUERIES["leave_instance"], {"instance_id": instance_id("trigger")})
                    self._seen_at = float("-inf")
            except psycopg.Error as error:
                log.warning("the ledger does not answer (%s); asking again in %s s", error, RETRY_SECONDS)
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
            for watch in await cursor.fetchall():
                for waiter in self._waiters.get((watch.job_id, watch.shard), ()):
                    self._judge(waiter, watch)
        return time.monotonic() - started

    def _judge(self, waiter: _Waiter, watch: Any) -> None:
        now = time.monotonic()
        if watch.waiting != waiter.waiting or watch.leased:
            waiter.waiting, waiter.changed_at = watch.waiting, now
        outcome: Outcome | None = None
        if watch.waiting == 0:
            outcome = "done"
        elif watch.job_state != "RUNNING":
            outcome = "stopped"
        elif now - waiter.changed_at > self._stall:
            outcome = "stalled"
        if outcome and not waiter.outcome.done():
            waiter.outcome.set_result(outcome)


_pollers: dict[asyncio.AbstractEventLoop, ShardPoller] = {}


def _poller() -> ShardPoller:
    """The poller of this event loop: one for all triggers of a triggerer."""
    from tradu.settings import get_settings

    loop = asyncio.get_running_loop()
    if loop not in _pollers:
        settings = get_settings()
        _pollers[loop] = ShardPoller(settings.ledger_dsn, settings.poll_seconds, settings.stall_seconds)
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
            yield TriggerEvent({"why": "blocks are open, no lease lives and nothing changes"})


class TurnPoller:
    """Takes a turn at admission once a tick, for every job that waits here. Lives in one event loop.

    Triggerers may do so beside one another: the ledger has turns taken one at a time.
    """

    def __init__(self, poll_seconds: float) -> None:
        self._poll = poll_seconds
        self._waiters: dict[UUID, asyncio.Event] = {}
        self._task: asyncio.Task[None] | None = None

    async def wait(self, job_id: UUID) -> None:
        """Until the job doesn't wait any more: it was let in, or has ended."""
        turn = self._waiters.setdefault(job_id, asyncio.Event())
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            await turn.wait()
        finally:
            self._waiters.pop(job_id, None)

    async def _run(self) -> None:
        from tradu.errors import TraduError

        while self._waiters:
            try:
                for job_id in await asyncio.to_thread(_take_turn, list(self._waiters)):
                    if waiter := self._waiters.get(job_id):
                        waiter.set()
            except (TraduError, OSError) as error:
                log.warning("no turn could be taken (%s); trying again in %s s", error, RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(self._poll)


def _take_turn(job_ids: list[UUID]) -> set[UUID]:
    import psycopg

    from tradu.admission import load_policy
    from tradu.errors import SystemicError
    from tradu.ledger import turns
    from tradu.ledger.connection import get_ledger
    from tradu.settings import get_settings

    try:
        return turns.turn_of(job_ids, get_ledger("trigger"), load_policy(get_settings()))
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
