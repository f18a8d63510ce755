"""Watches a run: one picture of its stages and blocks after another, until it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tradu.cli.airflow import AirflowClient, Run, TaskInstance
from tradu.errors import SystemicError
from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Job, Progress
from tradu.ledger.states import BlockState, JobState

DAG = "tradu_translate"
HELPER = "ask"
"""A task that does something only where a gate has stopped the run."""
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 120.0
"""The API or the ledger may be away for this long (a restart, a fail-over) before watching gives up."""
TRANSLATED = frozenset({BlockState.VALIDATING, BlockState.COMPLETED})
SETTLED = TRANSLATED | {BlockState.ERROR, BlockState.CANCELED}
_WORST_FIRST = (
    "failed",
    "upstream_failed",
    "up_for_retry",
    "running",
    "deferred",
    "restarting",
    "queued",
    "scheduled",
)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the line: its task's state, or the worst one of a mapped task's instances."""

    name: str
    state: str
    seconds: float | None
    """From the first start to the last end, or until now."""
    done: int
    count: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """How far the blocks of a job are."""

    done: int = 0
    total: int = 0
    failed: int = 0
    characters_done: int = 0
    characters_total: int = 0


@dataclass(frozen=True, slots=True)
class Picture:
    """A run as it is at one moment."""

    run: Run
    stages: tuple[Stage, ...]
    job: Job | None
    blocks: Blocks
    characters_per_second: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """How long the blocks that are left take at the present rate."""
        if not self.characters_per_second:
            return None
        return (self.blocks.characters_total - self.blocks.characters_done) / self.characters_per_second


def stages(order: Sequence[str], instances: Sequence[TaskInstance], now: datetime) -> tuple[Stage, ...]:
    """The stages of a run in the order of the line; helpers that are only run when something fails are left out."""
    own: dict[str, list[TaskInstance]] = {task: [] for task in order if task != HELPER}
    for instance in instances:
        if instance.task_id != HELPER:
            own.setdefault(instance.task_id, []).append(instance)
    return tuple(_stage(task, found, now) for task, found in own.items())


def _stage(task: str, instances: Sequence[TaskInstance], now: datetime) -> Stage:
    states = {instance.state or "waiting" for instance in instances}
    state = next((s for s in _WORST_FIRST if s in states), None)
    if state is None:  # all of one kind: success, skipped, removed, or nothing has begun
        state = "waiting" if not states or "waiting" in states else min(states, key=lambda s: s != "success")
    begun = [i.started_at for i in instances if i.started_at]
    seconds = None
    if begun:
        ends = [i.ended_at or now for i in instances if i.started_at]
        seconds = max(0.0, (max(ends) - min(begun)).total_seconds())
    done = sum(i.state in ("success", "skipped") for i in instances)
    return Stage(task, state, seconds, done, len(instances))


def blocks(progress: Sequence[Progress]) -> Blocks:
    """The ledger's counts by state, added up."""
    settled = [p for p in progress if p.state in SETTLED]
    return Blocks(
        done=sum(p.blocks for p in settled),
        total=sum(p.blocks for p in progress),
        failed=sum(p.blocks for p in progress if p.state == BlockState.ERROR),
        characters_done=int(sum(p.characters for p in settled)),
        characters_total=int(sum(p.characters for p in progress)),
    )


class Meter:
    """Characters per second since the blocks began to move."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def rate(self, characters: int, at_seconds: float) -> float | None:
        """The rate up to this reading; None until something has moved."""
        if self._first is None:
            self._first = (at_seconds, characters)
        began, before = self._first
        if characters == before:
            self._first = (at_seconds, characters) if before == 0 else self._first
            return None
        return (characters - before) / max(at_seconds - began, 1e-3)


def find_job(ledger: Ledger, tenant: str, key: str) -> Job | None:
    """The job that a tenant's key names, once the run has admitted it."""
    with ledger.transaction() as tx:
        found = tx.rows("job_of_key", Job, tenant=tenant, idempotency_key=key)
    return found[0] if found else None


def job_progress(ledger: Ledger, job: Job | None) -> Blocks:
    """The blocks of a job, none before it is admitted."""
    if job is None:
        return Blocks()
    with ledger.transaction() as tx:
        return blocks(tx.rows("progress", Progress, job_id=job.job_id))


def watch(
    client: AirflowClient,
    ledger: Ledger,
    run_id: str,
    tenant: str,
    key: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Picture]:
    """Pictures of a run, one a second; the last one is of the ended run.

    Raises:
        SystemicError: the API or the ledger was away for longer than `PATIENCE_SECONDS`.
    """
    order: list[str] = []
    meter, answered = Meter(), clock()
    while True:
        try:
            order = order or client.task_order(DAG)
            run = client.run(DAG, run_id)
            instances = client.task_instances(DAG, run_id)
            job = find_job(ledger, tenant, key)
            counted = job_progress(ledger, job)
        except SystemicError:
            if clock() - answered > PATIENCE_SECONDS:
                raise
            sleep(POLL_SECONDS)
            continue
        answered = clock()
        rate = meter.rate(counted.characters_done, answered) if counted.total else None
        yield Picture(run, stages(order, instances, datetime.now(UTC)), job, counted, rate)
        if run.ended:
            return
        sleep(POLL_SECONDS)


def why_failed(client: AirflowClient, run_id: str, job: Job | None) -> str | None:
    """Why a run that failed did: what the ledger says of the job, or the log of the first task that failed."""
    if job is not None and job.reason and job.state != JobState.RUNNING:
        return job.reason
    failed = [i for i in client.task_instances(DAG, run_id) if i.state == "failed" and i.attempt > 0]
    failed.sort(key=lambda i: (i.ended_at is None, i.ended_at))
    if not failed:
        return None
    message = client.last_error(DAG, run_id, failed[0])
    return f"{failed[0].task_id}: {message or 'the task failed without a message; its log says more'}"
