"""Workers that die, freeze or meet a poison block, and a store that goes away: nothing is lost, nothing done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
from typer.testing import CliRunner

from fixtures.line import Line
from tradu.cli.main import app
from tradu.cluster import batch, segments
from tradu.errors import ErrorClass, ModelError, SystemicError
from tradu.inference import pool
from tradu.inference.pool import EnginePool
from tradu.ledger import rewind
from tradu.store import Store

LEASE_SECONDS = 1.0
WORKER = """
import os, sys, time
from tradu.cluster import attempt, batch, heartbeat
from tradu.inference.pool import EnginePool

class Engine:
    def translate(self, texts):
        for text in texts:
            if {poison!r} in text:
                {what}
        return [text.replace("The harbour", "O porto") + " de volta ao fim do dia" for text in texts]
    def close(self):
        pass

batch.heartbeat = heartbeat.Heartbeat("worker-test")
import tradu.inference.pool
tradu.inference.pool._load = lambda model: Engine()
print("ready", flush=True)
batch.run_batch(sys.argv[1], 0)
print("done", flush=True)
"""


@pytest.fixture(autouse=True)
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_LEASE_SECONDS", str(LEASE_SECONDS))
    monkeypatch.setenv("TRADU_MAX_BLOCK_CHARS", "120")


@pytest.fixture
def job(the_line: Line) -> str:
    sentences = [f"The harbour of town {name} was closed for the whole of the winter.\n" for name in "ABCDEF"]
    the_line.put({"a.txt": "\n".join(sentences)})
    job = the_line.admit(source="en")
    the_line.prepare(job)
    assert len(the_line.blocks(job)) == 6
    return job


def start(job: str, poison: str, what: str) -> subprocess.Popen[str]:
    """A worker process of its own, with an engine that does `what` at a sentence with `poison`."""
    code = WORKER.format(poison=poison, what=what)
    return subprocess.Popen(
        [sys.executable, "-c", code, job],
        text=True,
        stdout=subprocess.PIPE,
        env=dict(os.environ),
        start_new_session=True,  # as the supervisor does
    )


def wait_for(the_line: Line, job: str, state: str, seconds: float = 15) -> None:
    until = time.monotonic() + seconds
    while not any(b.state == state for b in the_line.blocks(job)):
        assert time.monotonic() < until, [b.state for b in the_line.blocks(job)]
        time.sleep(0.05)


@contextmanager
def frozen(worker: subprocess.Popen[str]) -> Iterator[None]:
    """A worker stands still in the block. Its heartbeat does until that is done: nobody tells it what it has lost."""
    (beating,) = psutil.Process(worker.pid).children()
    beating.suspend()
    worker.send_signal(signal.SIGSTOP)
    yield
    worker.send_signal(signal.SIGCONT)
    assert worker.stdout is not None
    assert [worker.stdout.readline().strip() for _ in range(2)] == ["ready", "done"]
    beating.resume()
    worker.wait(timeout=30)


def test_a_killed_workers_blocks_are_taken_when_its_lease_runs_out(the_line: Line, job: str) -> None:
    worker = start(job, "town A", "time.sleep(60)")
    wait_for(the_line, job, "CLAIMED")
    time.sleep(2 * LEASE_SECONDS)
    assert {b.state for b in the_line.blocks(job)} == {"CLAIMED"}, "the heartbeat keeps a slow worker's leases"
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    started = time.monotonic()
    assert batch.run_batch(job, 0).accepted == 6
    assert time.monotonic() - started < 10 * LEASE_SECONDS
    assert {(b.state, b.attempt) for b in the_line.blocks(job)} == {("VALIDATING", 2)}
    assert the_line.deliver(job) == "COMPLETED"


def test_a_worker_that_is_stopped_with_its_group_says_farewell(the_line: Line, job: str) -> None:
    worker = start(job, "town A", "time.sleep(60)")
    wait_for(the_line, job, "CLAIMED")
    time.sleep(2 * LEASE_SECONDS)
    (beating,) = psutil.Process(worker.pid).children()
    os.killpg(worker.pid, signal.SIGTERM)
    worker.wait()
    beating.wait(timeout=15)
    with the_line.ledger.transaction() as tx:
        (said,) = tx.connection.execute("SELECT reason FROM incidents WHERE entity_id = 'worker-test'").fetchall()
    assert "blocks in hand: they are free" in said[0]
    assert batch.run_batch(job, 0).accepted == 6


def test_a_frozen_workers_results_are_refused(the_line: Line, job: str) -> None:
    worker = start(job, "town A", "time.sleep(2)")
    wait_for(the_line, job, "CLAIMED")
    with frozen(worker):
        assert batch.run_batch(job, 0).accepted == 6
        before = {b.block_id: b.result for b in the_line.blocks(job)}
    assert {b.block_id: b.result for b in the_line.blocks(job)} == before
    traced = CliRunner().invoke(app, ["trace", str(next(iter(before))), "--json"], catch_exceptions=False)
    assert ("batch", "0", "stale_result") in {
        (s["entity"], s["entity_id"], s["to_state"]) for s in json.loads(traced.stdout)
    }
    assert the_line.deliver(job) == "COMPLETED"


def test_a_worker_that_hangs_beyond_the_time_of_a_batch_is_ended(
    the_line: Line, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADU_BATCH_SECONDS", "1")
    worker = start(job, "town A", "time.sleep(600)")
    assert worker.wait(timeout=60) == -signal.SIGKILL
    assert batch.run_batch(job, 0).accepted == 6
    with the_line.ledger.transaction() as tx:
        (incident,) = tx.connection.execute("SELECT kind FROM incidents WHERE entity = 'instance'").fetchall()
    assert incident == ("instance_lost",)
    assert the_line.deliver(job) == "COMPLETED"


def test_a_block_that_kills_its_worker_takes_no_other_with_it(the_line: Line, job: str) -> None:
    for _ in range(6):
        worker = start(job, "town C", "os._exit(9)")
        worker.wait(timeout=60)
        if worker.returncode == 0:
            break
    states = {b.number: (b.state, b.attempt) for b in the_line.blocks(job)}
    assert states[2] == ("ERROR", 3), states
    assert all(state == "VALIDATING" for number, (state, _) in states.items() if number != 2), states
    (error,) = the_line.errors(job)
    assert error.blocks == 1
    assert error.error_class == ErrorClass.TRANSIENT


def test_a_worker_whose_heartbeat_is_killed_starts_another(the_line: Line, job: str) -> None:
    worker = start(job, "town A", "time.sleep(4)")
    wait_for(the_line, job, "CLAIMED")
    (beating,) = psutil.Process(worker.pid).children()
    beating.kill()
    worker.wait(timeout=30)
    assert worker.returncode == 0
    for _ in range(3):  # its leases ran out while nobody renewed them: another worker may have been at it
        batch.run_batch(job, 0)
    assert {b.state for b in the_line.blocks(job)} == {"VALIDATING"}
    assert max(b.attempt for b in the_line.blocks(job)) <= 2


def test_a_lost_worker_never_quarantines_what_another_one_has_done(the_line: Line, job: str) -> None:
    worker = start(job, "town A", "time.sleep(2); raise __import__('tradu.errors').errors.DataError('broken')")
    wait_for(the_line, job, "CLAIMED")
    with frozen(worker):
        assert batch.run_batch(job, 0).accepted == 6
    assert {b.state for b in the_line.blocks(job)} == {"VALIDATING"}
    assert the_line.errors(job) == []


def test_a_store_that_goes_away_costs_no_block_its_budget(the_line: Line, job: str) -> None:
    store = Path(the_line.store.root)
    hidden = store.with_name("away")
    store.rename(hidden)
    with pytest.raises(SystemicError):
        batch.run_batch(job, 0)
    assert {(b.state, b.attempt) for b in the_line.blocks(job)} == {("PENDING", 0)}
    hidden.rename(store)
    assert batch.run_batch(job, 0).accepted == 6


@pytest.mark.timeout(120)
@pytest.mark.parametrize("away", [False, True])
def test_blocks_that_somebody_has_locked_hold_no_worker(
    the_line: Line, job: str, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    """Neither when it hands them back for a failure of its own, nor for one of the system."""
    monkeypatch.setattr(batch, "LOCK_SECONDS", 1)
    monkeypatch.setattr(segments, "_engines", EnginePool())
    store = Path(the_line.store.root)
    with psycopg.connect(the_line.ledger.dsn) as idle:

        class Engine:
            def translate(self, texts: Sequence[str]) -> list[str]:
                idle.execute("SELECT 1 FROM blocks WHERE state = 'CLAIMED' FOR UPDATE")
                if not away:
                    raise ModelError("it broke")
                store.rename(store.with_name("away"))
                return [f"O porto {text}" for text in texts]

            def close(self) -> None:
                pass

        monkeypatch.setattr(pool, "_load", lambda _model: Engine())
        with pytest.raises(SystemicError):
            batch.run_batch(job, 0)
        assert {(b.state, b.attempt) for b in the_line.blocks(job)} == {("CLAIMED", 1)}, "the leases run out"
        idle.rollback()


def test_a_lost_object_is_a_fault_of_the_data(the_line: Line, job: str) -> None:
    for part in Path(the_line.store.root).glob("blocks/*/part-*"):
        part.unlink()
    assert batch.run_batch(job, 0).accepted == 0
    assert {(b.state, b.error_class) for b in the_line.blocks(job)} == {("ERROR", "data")}


def test_the_class_of_an_error_says_who_retries(tmp_path: Path) -> None:
    store = Store(tmp_path.as_uri())
    store.put(rewind.MARK_KEY, b"{}")
    assert batch.class_of(MemoryError(), store) is ErrorClass.RESOURCE
    assert batch.class_of(OSError("disk"), store) is ErrorClass.SYSTEMIC
    assert batch.class_of(FileNotFoundError("part"), store) is ErrorClass.DATA
    assert batch.class_of(FileNotFoundError("part"), Store((tmp_path / "gone").as_uri())) is ErrorClass.SYSTEMIC
    empty = tmp_path / "mount point"
    empty.mkdir()
    assert batch.class_of(FileNotFoundError("part"), Store(empty.as_uri())) is ErrorClass.SYSTEMIC
    assert batch.class_of(ValueError(), store) is ErrorClass.TRANSIENT


def test_backoff_doubles_with_jitter_up_to_a_limit() -> None:
    assert batch.backoff_seconds(1, 0.5) == batch.BACKOFF_SECONDS
    assert batch.backoff_seconds(2, 0.5) == 2 * batch.BACKOFF_SECONDS
    assert batch.backoff_seconds(3, 0.0) < batch.backoff_seconds(3, 0.99)
    assert batch.backoff_seconds(50, 0.99) <= 1.5 * batch.MOST_BACKOFF_SECONDS


MEMORY_WORKER = """
import resource, sys
import numpy
from tradu.cluster import batch
import tradu.inference.pool

class Engine:
    def translate(self, texts):
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), resource.RLIM_INFINITY))
        try:
            kept = [numpy.ones(30 << 20, dtype=numpy.uint8) for _ in texts]  # 30 MiB a text
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return [text.replace("The harbour", "O porto") + " de volta ao fim do dia" for text in texts]
    def close(self):
        pass

tradu.inference.pool._load = lambda model: Engine()
batch.run_batch(sys.argv[1], 0)
"""


def test_a_batch_too_large_for_the_memory_is_halved_and_goes_on(the_line: Line, job: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_WORKER, job], text=True, capture_output=True, env=dict(os.environ), check=False
    )
    assert done.returncode == 0, done.stderr
    assert "out of memory on 6 texts; going on with 3 at once" in done.stderr
    assert {(b.state, b.attempt) for b in the_line.blocks(job)} == {("VALIDATING", 1)}


def test_a_block_too_large_for_the_memory_is_quarantined_alone(the_line: Line, job: str) -> None:
    code = MEMORY_WORKER.replace("30 << 20", "(300 << 20) if 'town D' in ' '.join(texts) else (1 << 20)")
    subprocess.run([sys.executable, "-c", code, job], env=dict(os.environ), check=True, capture_output=True)
    states = {b.number: (b.state, b.error_class) for b in the_line.blocks(job)}
    assert states.pop(3) == ("ERROR", ErrorClass.RESOURCE)
    assert {state for state, _ in states.values()} == {"VALIDATING"}
