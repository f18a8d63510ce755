"""Throughput against the number of workers, with an engine that only waits: what the control plane alone carries.

The ledger, the Dask scheduler, claiming, reading, checking, writing and completing are those of the product. Many
workers share a few processes, so that a small machine carries 64 of them; what these processes can't do limits the
curve too, and is shown. TRADU_BENCH_WORKERS names the numbers (1,2,...,64), TRADU_BENCH_POINT_SECONDS the length of a
measurement (12), TRADU_BENCH_WAIT_SECONDS what the engine waits a batch (1).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase

import psutil
import psycopg
import pytest
from distributed import Client

from benchmarks import ledger_share, usl, waiting_worker
from benchmarks.test_ledger import assert_durable
from benchmarks.test_storage import keep
from fixtures.line import Line, opened
from tradu.cluster import dispatch
from tradu.settings import get_settings
from tradu.stack.host import this_host
from tradu.stack.layout import Layout
from tradu.stack.ports import free_ports
from tradu.stack.services import DASK_SCHEDULER, services

NUMBERS = sorted(map(int, os.environ.get("TRADU_BENCH_WORKERS", "1,2,4,8,16,32,64").split(",")))
POINT_SECONDS = float(os.environ.get("TRADU_BENCH_POINT_SECONDS", "12"))
WAIT_SECONDS = float(os.environ.get("TRADU_BENCH_WAIT_SECONDS", "1"))
PROCESSES = 4
BLOCKS_OF_BATCH = 8
STRAIGHT_TO = 32
"""So far neither the ledger nor the scheduler may bend the curve."""
MODELS = """
models:
  waiting: {{engine: waiting, tier: economy, source: en, target: pt, licence: Apache-2.0, memory_mb: 1,
            cpu_seconds_per_million_chars: 1, options: {{seconds: "{seconds}"}}}}
"""
PROFILES = "profiles:\n  waiting: {description: Only waits., tiers: [economy], models: [waiting]}\n"
SENTENCE = "In the town of {} the harbour was closed all winter, and the boats stayed where they were."


@dataclass(frozen=True)
class Point:
    """What so many workers did. Seconds are of a batch, cores are CPU seconds a second."""

    workers: int
    batches_per_second: float
    cycle_seconds: float
    """From one batch of a worker to its next one."""
    ledger_seconds: float
    """In transactions of the ledger, as a worker sees them."""
    postgres_cores: float
    scheduler_cores: float
    worker_cores: float

    @property
    def beyond_wait(self) -> float:
        """Of the cycle, what isn't the engine's."""
        return self.cycle_seconds - WAIT_SECONDS

    def line(self, one: float) -> str:
        """A row of the table."""
        share = self.batches_per_second / (self.workers * one)
        return (
            f"| {self.workers} | {self.batches_per_second:.2f} | {self.batches_per_second * BLOCKS_OF_BATCH:.0f} "
            f"| {share:.0%} | {self.beyond_wait * 1e3:.0f} | {self.ledger_seconds * 1e3:.1f} "
            f"| {self.postgres_cores:.2f} | {self.scheduler_cores:.2f} | {self.worker_cores:.2f} |"
        )


HEAD = (
    "| workers | batches/s | blocks/s | of linear | a batch beyond the engine, ms | of it in the ledger, ms | "
    "cores: PostgreSQL | scheduler | workers |\n|" + " ---: |" * 9
)


@dataclass(frozen=True)
class Plant:
    """What runs: a line, a scheduler, and processes that hold the workers."""

    line: Line
    client: Client
    scheduler: psutil.Process
    processes: list[psutil.Process]
    postgres: psutil.Process

    def cpu(self) -> tuple[float, float, float]:
        """CPU seconds so far of PostgreSQL, the scheduler and the workers."""
        return cpu_seconds(self.postgres), cpu_seconds(self.scheduler), sum(map(cpu_seconds, self.processes))

    def done(self) -> int:
        """Blocks finished so far by all jobs."""
        with self.line.ledger.transaction() as tx:
            return int(tx.connection.execute("SELECT coalesce(sum(blocks), 0) FROM throughput").fetchone()[0])  # type: ignore[index]


def cpu_seconds(process: psutil.Process) -> float:
    """CPU seconds of a process and its children, those that have ended included."""
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


@pytest.fixture
def plant(ledger_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """As many workers as the largest number asked for."""
    waiting_worker.know_the_engine()
    dask, dashboard = free_ports(2)
    address, store = f"tcp://127.0.0.1:{dask}", (tmp_path / "store").as_uri()
    environment = {
        "TRADU_HOME": str(tmp_path),
        "TRADU_LEDGER_URL": ledger_database,
        "TRADU_STORE_URL": store,
        "TRADU_LANDING_URL": (tmp_path / "landing").as_uri(),
        "TRADU_DASK_SCHEDULER": address,
        "TRADU_DASK_DASHBOARD_PORT": str(dashboard),
        "TRADU_MAX_BLOCK_CHARS": "100",
        "TRADU_BATCH_CHARS": str(BLOCKS_OF_BATCH * 100),
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "models.yaml").write_text(MODELS.format(seconds=WAIT_SECONDS))
    (tmp_path / "profiles.yaml").write_text(PROFILES)
    layout = Layout(get_settings())
    for folder in (layout.run, layout.logs, layout.home / "dask"):
        folder.mkdir(parents=True)
    (service,) = (s for s in services(layout, this_host()) if s.name == DASK_SCHEDULER)
    names = [f"{n % PROCESSES}-{n}" for n in range(max(NUMBERS))]
    with ExitStack() as running:
        scheduler = running.enter_context(child(service.command, service.environment, layout.logs / "scheduler.log"))
        client = running.enter_context(Client(address, set_as_default=False, timeout=60))
        line = running.enter_context(opened(ledger_database, address, tmp_path, store, monkeypatch))
        processes = []
        for number in range(min(PROCESSES, len(names))):
            command = spec(address, [n for n in names if n.startswith(f"{number}-")], tmp_path)
            processes.append(running.enter_context(child(command, service.environment, layout.logs / f"{number}.log")))
        client.wait_for_workers(len(names), timeout=120)
        yield Plant(line, client, scheduler, processes, postmaster(ledger_database))


@contextmanager
def child(command: list[str] | tuple[str, ...], environment: dict[str, str], log: Path) -> Iterator[psutil.Process]:
    """A process while the block runs."""
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=stream, stderr=stream)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def spec(address: str, names: list[str], folder: Path) -> list[str]:
    """The command for a process that holds these workers, of one thread each."""
    options = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "preload": ["benchmarks.waiting_worker"]}
    workers = {
        name: {"cls": "distributed.Worker", "opts": {"name": name, "local_directory": str(folder / "dask"), **options}}
        for name in names
    }
    file = folder / f"workers-{names[0]}.json"
    file.write_text(json.dumps(workers))
    return [sys.executable, "-m", "distributed.cli.dask_spec", address, "--spec-file", str(file)]


def postmaster(dsn: str) -> psutil.Process:
    """The process of which every connection's is a child."""
    with psycopg.connect(dsn) as connection:
        return psutil.Process(psutil.Process(connection.info.backend_pid).ppid())


def documents(batches: int, first: int) -> str:
    """Sentences, none of which occurs in another document: nothing of them is known from before."""
    towns = islice(product(ascii_lowercase, repeat=4), first, first + batches * BLOCKS_OF_BATCH)
    return "\n\n".join(SENTENCE.format("".join(town).title()) for town in towns)


def measure(plant: Plant, workers: int, first: int) -> Point:
    """A job long enough for so many workers, of which the begin and the end aren't counted."""
    batches = workers * (2 + int(POINT_SECONDS / WAIT_SECONDS))
    path = f"{workers}/text.txt"
    plant.line.put({path: documents(batches, first)})
    landing = f"{get_settings().landing}/{workers}/"
    job = plant.line.admit(f"usl-{workers}", source="en", profile="waiting", documents=[landing])
    shards = plant.line.prepare(job)
    begun, ledger = plant.done(), plant.line.ledger
    plant.client.run(ledger_share.seconds)
    for shard in shards:
        dispatch.submit(plant.line.job(job).job_id, shard, ledger, get_settings())
    at, total = workers * BLOCKS_OF_BATCH, batches * BLOCKS_OF_BATCH
    _reach(plant, begun + at)
    plant.client.run(ledger_share.seconds)
    before, started, from_ = plant.cpu(), time.perf_counter(), plant.done()
    _reach(plant, begun + total - at)
    after, ended, until = plant.cpu(), time.perf_counter(), plant.done()
    in_ledger = sum(seconds for seconds, _ in plant.client.run(ledger_share.seconds).values())
    _reach(plant, begun + total)
    assert {(b.state, b.attempt) for b in plant.line.blocks(job)} == {("VALIDATING", 1)}
    took, done = ended - started, (until - from_) / BLOCKS_OF_BATCH
    cores = [(b - a) / took for a, b in zip(before, after, strict=True)]
    return Point(workers, done / took, workers * took / done, in_ledger / done, *cores)


def _reach(plant: Plant, blocks: int) -> None:
    deadline = time.monotonic() + 120 + 4 * POINT_SECONDS
    while plant.done() < blocks:
        assert time.monotonic() < deadline, f"{plant.done()} of {blocks} blocks are done"
        time.sleep(0.05)


@pytest.mark.timeout(1_800)
def test_neither_ledger_nor_scheduler_bends_the_curve(plant: Plant) -> None:
    assert_durable(get_settings().ledger_dsn)
    points, first, held = list[Point](), 0, max(NUMBERS)
    for workers in reversed(NUMBERS):  # the workers are there, and leave
        if workers < held:
            names = {w["name"] for w in plant.client.scheduler_info(n_workers=-1)["workers"].values()}
            plant.client.retire_workers(names=[n for n in names if int(n.split("-")[1]) >= workers])
            held = workers
        points.insert(0, measure(plant, workers, first))
        first += 20_000
    law = usl.fit([p.workers for p in points], [p.batches_per_second for p in points])
    one = points[0].batches_per_second / points[0].workers
    print(
        f"\n{PROCESSES} processes hold the workers; {WAIT_SECONDS:g} s of waiting and {BLOCKS_OF_BATCH} blocks a batch"
    )
    print("\n".join([HEAD, *(point.line(one) for point in points)]))
    print(f"λ {law.rate:.3f} batches/s, σ {law.contention:.4f}, κ {law.coherency:.2e}, N* {law.peak:.0f}")
    keep("usl", {"points": [asdict(p) for p in points], "law": asdict(law), "wait_seconds": WAIT_SECONDS})
    for point in points:
        if point.workers <= STRAIGHT_TO:
            assert point.ledger_seconds < 0.1 * point.cycle_seconds
            assert max(point.postgres_cores, point.scheduler_cores) < 0.5 * this_host().cores
    assert law.peak > STRAIGHT_TO
