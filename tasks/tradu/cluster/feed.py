"""Feeds the batches of shards to the cluster, as many at a time as it can take. Runs on the Dask scheduler.

There it sees what the scheduler knows of its workers, holds no worker's slot, and lives as long as the tasks that it
sends: where the scheduler is lost, so are both, and the shard is submitted again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from distributed import Client, Scheduler, SchedulerPlugin, Status
from distributed.scheduler import WorkerState
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tradu import telemetry
from tradu.cluster import DEFAULT_POOL, FEEDERS, KEY, METRIC, resource
from tradu.cluster.journal import Journal
from tradu.cluster.report import Report
from tradu.cluster.window import GROWS, Bounds, Cause, Sample, begin, change, step

log = logging.getLogger(__name__)
CONNECT_SECONDS = 30.0
LOOK_SECONDS = 1.0
"""So often the number of workers is looked at again."""
LATER = 1.25
"""Up to so many times the wait that a limit asks for: not all shards that it holds back come again at once."""


@dataclass(frozen=True, slots=True)
class Group:
    """Batches that may run in the same places."""

    numbers: tuple[int, ...]
    where: Mapping[str, Any]
    """Arguments for Dask."""
    alone: bool = False
    """The pools of other tiers have no workers."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A submission of a shard, or what it has handed on to a pool: batches, and the pool that does most of them."""

    job: str
    number: int
    epoch: int
    pool: str
    priority: int
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """A shard that is fed, as people see it."""

    job: str
    shard: int
    pool: str
    at_cluster: int
    limit: int
    ceiling: int
    waiting: int
    """Batches that were not sent yet."""
    resting_seconds: float
    """Until a limit of claims lets something through; 0: none holds it back."""
    cause: str
    why: str


def start(shard: Shard, dask_scheduler: Any = None) -> None:
    """Runs on the Dask scheduler: feed a shard from now on; an older submission of it is fed no more."""
    if FEEDERS not in dask_scheduler.plugins:
        dask_scheduler.add_plugin(Feeders(dask_scheduler))
    dask_scheduler.plugins[FEEDERS].feed(shard)


def standing(dask_scheduler: Any = None) -> list[Standing]:
    """Runs on the Dask scheduler: the shards that are fed."""
    feeders = dask_scheduler.plugins.get(FEEDERS)
    return [] if feeders is None else feeders.standing()


def work(job: str, batch: int, alone: bool) -> Report:
    """Runs in a Dask worker: a batch. The scheduler, which sends it, has no use for the engines and their libraries."""
    from tradu.cluster.batch import run_batch

    return run_batch(job, batch, alone)


class Feeders(SchedulerPlugin):
    """The shards that a scheduler's cluster is fed with."""

    name = FEEDERS

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._feeders: dict[tuple[str, int, str], tuple[Feeder, asyncio.Task[None]]] = {}
        self._client: asyncio.Task[Client] | None = None
        self.shrunk: Counter[Cause] = Counter()
        """How often fewer batches were sent, by cause."""
        self.journal = Journal()
        _Exposed.feeders = self
        if not _Exposed.registered:
            REGISTRY.register(_Exposed())
            _Exposed.registered = True

    def feed(self, shard: Shard) -> None:
        """Feed a shard; whoever fed it before ends. Submissions that overtake one another come to the newest."""
        mine = [name for name in self._feeders if name[:2] == (shard.job, shard.number)]
        if any(self._feeders[name][0].shard.epoch > shard.epoch for name in mine):
            return
        for name in mine:
            self._feeders.pop(name)[1].cancel()
        self._begin(shard)

    def hand_on(self, shard: Shard, batch: int, pool: str) -> None:
        """Feed a batch of blocks that wait for another pool, beside the shard and at that pool's own pace.

        One that waits to be sent already, if only with the shard itself, takes with it what is new in it.
        """
        alive = {name: feeder for name, (feeder, task) in self._feeders.items() if not task.done()}
        mine = {name[2]: feeder for name, feeder in alive.items() if name[:2] == (shard.job, shard.number)}
        if any(feeder.waits(batch) for feeder in mine.values()):
            return
        group = Group((batch,), {"resources": {resource(pool): 1.0}})
        if pool in mine:
            mine[pool].add(batch, group)
        else:
            self._begin(replace(shard, pool=pool, groups=(group,)))

    def _begin(self, shard: Shard) -> None:
        feeder = Feeder(shard, self._scheduler, self.shrunk, self.journal, self.hand_on)
        task, name = asyncio.create_task(self._run(feeder)), (shard.job, shard.number, shard.pool)
        self._feeders[name] = feeder, task
        task.add_done_callback(partial(self._ended, name))

    async def _run(self, feeder: Feeder) -> None:
        client = await self._connected()
        with telemetry.bound(job_id=feeder.shard.job, shard=feeder.shard.number):
            await feeder.run(client)

    async def _connected(self) -> Client:
        """The client that all feeders share; another one where it could not connect, or has lost its connection."""
        last = self._client
        if last is None or (last.done() and (last.exception() or last.result().status != "running")):
            self._client = last = asyncio.create_task(_connect(self._scheduler.address))
        return await asyncio.shield(last)

    def _ended(self, name: tuple[str, int, str], task: asyncio.Task[None]) -> None:
        if name in self._feeders and self._feeders[name][1] is task:
            del self._feeders[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(
                "shard %d of job %s is fed no more, until it is submitted again", name[1], name[0], exc_info=error
            )

    def feeds(self, job: str, shard: int, epoch: int) -> bool:
        """Whether a submission is fed."""
        return any(name[:2] == (job, shard) and f.shard.epoch == epoch for name, (f, _) in self._feeders.items())

    def fed(self) -> set[tuple[str, int]]:
        """Job and number of every shard that is fed."""
        return {(job, number) for job, number, _ in self._feeders}

    def standing(self) -> list[Standing]:
        """Every shard that is fed, as it stands."""
        return [feeder.standing() for feeder, _ in self._feeders.values()]

    async def before_close(self) -> None:
        """The scheduler ends."""
        for _, task in self._feeders.values():
            task.cancel()
        self.journal.close()
        if self._client is not None and self._client.done() and not self._client.exception():
            await self._client.result().close()


async def _connect(address: str) -> Client:
    # not the 5 s that a dead worker is asked for: where the scheduler stands still for longer, shards would be lost
    client: Client = await Client(address, asynchronous=True, set_as_default=False, timeout=CONNECT_SECONDS)
    return client


@dataclass(frozen=True, slots=True)
class _Item:
    """A batch to send."""

    number: int
    group: Group


_sendings = itertools.count()
"""A number for each time that a batch is sent: one that is sent again may meet an older task that is about to end."""


class Feeder:
    """Feeds one shard, or what was handed on to one pool."""

    def __init__(
        self,
        shard: Shard,
        scheduler: Scheduler,
        shrunk: Counter[Cause],
        journal: Journal,
        hand_on: Callable[[Shard, int, str], None],
    ) -> None:
        self.shard, self._scheduler, self._shrunk = shard, scheduler, shrunk
        self._journal, self._hand_on = journal, hand_on
        self._left = deque(_Item(number, group) for group in shard.groups for number in group.numbers)
        self._flying: dict[asyncio.Task[tuple[Report, float]], _Item] = {}
        self._client: Client | None = None
        self._bounds = Bounds.of(self._look()[0])
        self._window = begin(self._bounds)
        self._lanes = self._bounds.ceiling  # fewer, where a limit of claims has let nothing through
        self._rests_until = 0.0

    def waits(self, number: int) -> bool:
        """Whether a batch waits to be sent."""
        return any(item.number == number for item in self._left)

    def add(self, number: int, group: Group) -> None:
        """One batch more."""
        self._left.append(_Item(number, group))
        self._fill()

    async def run(self, client: Client) -> None:
        """Until every batch has come back."""
        self._client = client
        try:
            while self._left or self._flying:
                self._fill()
                rests = self._rests_until - time.monotonic()
                await self._wait(min(rests, LOOK_SECONDS) if rests > 0 else LOOK_SECONDS)
        finally:
            for task in self._flying:
                task.cancel()

    def _fill(self) -> None:
        """Send as many as there may be at the cluster."""
        if self._client is None or self._rests_until > time.monotonic():
            return
        while self._left and len(self._flying) < min(self._window.limit, self._lanes):
            item = self._left.popleft()
            self._flying[asyncio.create_task(self._send(self._client, item))] = item

    async def _wait(self, seconds: float) -> None:
        """Until a batch comes back, or for a while."""
        if not self._flying:
            await asyncio.sleep(seconds)
        else:
            done, _ = await asyncio.wait(self._flying, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                self._came_back(self._flying.pop(task), task)
        self._bounds = Bounds.of(self._look()[0])

    async def _send(self, client: Client, item: _Item) -> tuple[Report, float]:
        """What a batch says when it comes back, and how long that took."""
        shard, begun = self.shard, time.monotonic()
        future = client.submit(
            work,
            shard.job,
            item.number,
            item.group.alone,
            key=(KEY, shard.job, shard.number, shard.epoch, item.number, next(_sendings)),
            priority=shard.priority,
            pure=False,
            retries=0,
            **item.group.where,
        )
        try:
            return await future, time.monotonic() - begun
        finally:
            future.release()

    def _came_back(self, item: _Item, task: asyncio.Task[tuple[Report, float]]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None or task.cancelled():
            log.warning("batch %d did not come back: %s", item.number, error or "it was given up")
            self._adapt(Sample(0.0, 0.0, failed=max(1, round(self._window.failing.below))))
            return
        report, took = task.result()
        # each once, though blocks may have been handed on one by one. A worker of the version before says nothing of it
        for number, pool in dict.fromkeys(getattr(report, "handed_on", ())):
            self._hand_on(self.shard, number, pool)
        if report.gone:  # the job does not run any more
            self._left.clear()
        if report.come_again_seconds:
            jitter = random.uniform(1.0, LATER)  # noqa: S311 - no secret
            self._rests_until = time.monotonic() + jitter * report.come_again_seconds
            self._lanes = 1
            self._left.appendleft(item)
            return
        self._lanes = min(self._lanes + 1, self._bounds.ceiling)
        waited = max(0.0, took - report.seconds)
        self._adapt(
            Sample(
                report.seconds,
                waited,
                report.downstream_seconds,
                report.characters,
                report.accepted,
                report.failed,
                pressed=self._look()[1],
            )
        )

    def _adapt(self, sample: Sample) -> None:
        before, self._window = self._window, step(self._window, sample, self._bounds)
        if (decided := change(before, sample, self._bounds, self._window)) is not None:
            self._journal.note((self.shard.job, self.shard.number, self.shard.epoch), self.shard.pool, decided)
        if self._window.until_next > before.until_next:
            self._shrunk[self._window.cause] += 1
            log.info(
                "at most %d batches at the cluster, not %d: %s", self._window.limit, before.limit, self._window.why
            )

    def _look(self) -> tuple[int, bool]:
        """Threads of the shard's pool, and whether one of its workers is short of memory."""
        own = [ws for ws in self._scheduler.workers.values() if _pool_of(ws) == self.shard.pool]
        threads = sum(ws.nthreads for ws in own if ws.status is Status.running)
        return threads, any(ws.status is Status.paused for ws in own)

    def standing(self) -> Standing:
        """How it stands."""
        return Standing(
            self.shard.job,
            self.shard.number,
            self.shard.pool,
            len(self._flying),
            min(self._window.limit, self._lanes),
            self._bounds.ceiling,
            len(self._left),
            max(0.0, self._rests_until - time.monotonic()),
            self._window.cause,
            self._window.why,
        )


def _pool_of(worker: WorkerState) -> str:
    return str(worker.metrics.get(METRIC, {}).get("pool", DEFAULT_POOL))


class _Exposed(Collector):
    """What is fed, for Prometheus: the scheduler's server shows it at /metrics."""

    feeders: Feeders | None = None
    registered = False

    def collect(self) -> Iterator[Metric]:
        if self.feeders is None:
            return
        fed = self.feeders.standing()
        shards = len({(s.job, s.shard) for s in fed})
        yield GaugeMetricFamily("tradu_fed_shards", "Shards that are fed to the cluster", shards)
        yield GaugeMetricFamily("tradu_batches_at_cluster", "Batches at the cluster", sum(s.at_cluster for s in fed))
        yield GaugeMetricFamily("tradu_batches_limit", "Most batches at the cluster now", sum(s.limit for s in fed))
        yield GaugeMetricFamily("tradu_batches_ceiling", "Most there may ever be", sum(s.ceiling for s in fed))
        resting = sum(s.resting_seconds > 0 for s in fed)
        yield GaugeMetricFamily("tradu_resting_shards", "Shards that a limit of claims holds back", resting)
        shrunk = CounterMetricFamily(
            "tradu_batches_limit_decreases", "How often fewer batches were sent, by cause", labels=["cause"]
        )
        for cause in Cause:
            if cause:
                shrunk.add_metric([cause.value], self.feeders.shrunk[cause])
        yield shrunk
        grown = self.feeders.journal.counts[GROWS]
        yield CounterMetricFamily("tradu_batches_limit_increases", "How often more batches were sent", grown)
