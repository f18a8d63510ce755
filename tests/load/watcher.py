"""Looks once a second at a stack under load: what waits, runs and was done, workers, and the memory of each process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil
import psycopg

from fixtures.stack import Stack
from tradu.stack.layout import Layout
from tradu.stack.services import WORKER_PREFIX
from tradu.stack.supervise import RUNNING, Supervisor

LOOK_SECONDS = 1.0
_MIB = 2**20
_QUERY = """
SELECT (SELECT count(*) FROM blocks k JOIN jobs j USING (job_id) WHERE j.state = 'RUNNING' AND k.state = 'PENDING'),
       (SELECT coalesce(sum(blocks), 0) FROM throughput),
       (SELECT coalesce(max(wanted), 0) FROM pools),
       (SELECT count(*) FROM jobs WHERE state IN ('ADMITTED', 'RUNNING')),
       (SELECT coalesce(sum(k.characters), 0) FROM blocks k JOIN jobs j USING (job_id)
        WHERE j.state IN ('ADMITTED', 'RUNNING') AND k.state IN ('PENDING', 'CLAIMED', 'PROCESSING')),
       (SELECT coalesce(jsonb_object_agg(tenant, n), '{}') FROM
        (SELECT tenant, count(*) AS n FROM jobs WHERE state = 'DEFERRED' GROUP BY tenant) AS d)
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look."""

    at: float
    """Unix time."""
    waiting: int
    """Blocks."""
    done: int
    """Blocks, so far."""
    wanted: int
    workers: int
    """Processes that the supervisor runs."""
    running_jobs: int
    open_characters: int
    deferred: dict[str, int]
    """Jobs that wait, by tenant."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A process of a worker that was seen."""

    service: str
    pid: int
    started_at: float


@dataclass
class Watch:
    """What was seen."""

    samples: list[Sample] = field(default_factory=list)
    workers: dict[int, Worker] = field(default_factory=dict)
    """Every process of a worker, by its id."""
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Of each process, by service and process id: when, and MiB of its own (resident, and shared with nobody)."""

    def growth(self, since: float, until: float) -> dict[str, tuple[float, float]]:
        """Of processes that lived all that time: the most in the first and in the last third of it, MiB."""
        third, found = (until - since) / 3, {}
        for name, seen in self.memory.items():
            early = [mib for at, mib in seen if since <= at < since + third]
            late = [mib for at, mib in seen if until - third <= at < until]
            if early and late and seen[0][0] <= since + 5 and seen[-1][0] >= until - 5:
                found[name] = max(early), max(late)
        return found


@contextmanager
def watching(stack: Stack) -> Iterator[Watch]:
    """Watch a stack while the block runs."""
    watch, ended, layout = Watch(), threading.Event(), Layout(stack.settings)

    def look() -> None:
        with psycopg.connect(stack.line.ledger.dsn, autocommit=True, application_name="watcher") as connection:
            while not ended.is_set():
                begun = time.monotonic()
                _look(watch, layout, connection)
                ended.wait(max(0.0, LOOK_SECONDS - (time.monotonic() - begun)))

    thread = threading.Thread(target=look, name="watcher", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


def started(process: psutil.Process) -> float:
    """When a process began, as the clock of this machine has it: psutil knows the time of the boot in whole seconds."""
    after_boot = process.create_time() - psutil.boot_time()
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + after_boot


def _look(watch: Watch, layout: Layout, connection: psycopg.Connection) -> None:
    at = time.time()
    (waiting, done, wanted, running, characters, deferred) = connection.execute(_QUERY).fetchone() or (0,) * 6
    up = 0
    for state in Supervisor(layout).states():
        if state.pid is None:
            continue
        with suppress(psutil.Error):
            process = psutil.Process(state.pid)
            if state.name.startswith(WORKER_PREFIX):
                up += state.state == RUNNING
                watch.workers.setdefault(state.pid, Worker(state.name, state.pid, started(process)))
            for each in (process, *process.children(recursive=True)):
                with suppress(psutil.Error):
                    said = each.memory_info()
                    seen = watch.memory.setdefault(f"{state.name}:{each.pid}", [])
                    seen.append((at, (said.rss - said.shared) / _MIB))
    watch.samples.append(Sample(at, waiting, int(done), wanted, up, running, int(characters), deferred))
