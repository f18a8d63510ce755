"""A real pool: supervised Dask workers, a ledger, an agent and a controller, under work and harm."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from fixtures.line import Line
from fixtures.postgres import TestServer
from tradu.cluster import batch, dispatch
from tradu.cluster.scaling.controller import Controller, replayed
from tradu.cluster.scaling.decide import Decision, Rule
from tradu.errors import ModelError
from tradu.ledger import pools
from tradu.ledger.connection import Ledger
from tradu.ledger.migrate import migrate
from tradu.settings import get_settings
from tradu.stack import airflow_config, health, ports, processes
from tradu.stack.agent import HostAgent
from tradu.stack.host import GIB, Host
from tradu.stack.layout import Layout
from tradu.stack.roster import Do
from tradu.stack.services import dask_workers, services, supervisor_config
from tradu.stack.supervise import Supervisor
from tradu.store import Store

WORKERS = 2
HOST = Host(cores=WORKERS, memory_bytes=4 * GIB, gpus=0)
POLICY = """
pools:
  cpu: {floor: 1, drain_seconds: 0.01, cooldown_seconds: 1, stale_seconds: 3, oldest_seconds: 600}
"""
pytestmark = pytest.mark.timeout(240)


@dataclass
class Elastic:
    """A pool with what scales it; `tick` is a second of both."""

    layout: Layout
    ledger: Ledger
    line: Line
    controller: Controller
    agent: HostAgent
    decided: list[Decision] = field(default_factory=list)
    done: list[tuple[Do, str]] = field(default_factory=list)

    def tick(self) -> Decision | None:
        decision = self.controller.tick().get("cpu")
        if decision:
            self.decided.append(decision)
        self.done += self.agent.tick()
        return decision

    def until(self, what: str, reached: Callable[[], object], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < end, f"{what}: {self.decided[-1:]}, {self.states()}"
            self.tick()
            time.sleep(0.1)

    def states(self) -> dict[str, str]:
        return {s.name: s.state for s in Supervisor(self.layout).states() if s.name.startswith("dask-worker")}

    def pids(self) -> dict[str, int | None]:
        return {s.name: s.pid for s in Supervisor(self.layout).states()}

    def joined(self) -> int:
        return len(health.dask_worker_names(self.layout.settings.dask_scheduler) or [])

    def have(self, count: int) -> None:
        states = Counter({"RUNNING": count, "STOPPED": WORKERS - count})
        self.until(f"{count} workers", lambda: self.joined() == count and Counter(self.states().values()) == states)

    def hold(self, wanted: int | None) -> None:
        """Set the number by hand; None: let it be scaled."""
        with self.ledger.transaction() as tx:
            if wanted is None:
                tx.run("pause_pool", pool="cpu", paused=False, by="test")
            else:
                tx.run("set_pool", pool="cpu", wanted=wanted, by="test")
        if wanted is not None:
            self.have(wanted)

    def prepare(self, key: str, documents: int) -> tuple[str, list[int]]:
        """A job of as many batches as documents, none of which knows another's text; its shards."""
        town = "In the town of {} the harbour was closed all winter, and the boats of {} stayed where they were.\n\n"
        for n in range(documents):
            text = "".join(town.format(f"{key.title()}{n}{chr(97 + part)}", n) for part in range(8))
            self.line.put({f"{key}/{n}.txt": text})
        source = f"{get_settings().landing}/{key}/"
        job = self.line.admit(key, source="en", documents=[source])
        return job, self.line.prepare(job)

    def submit(self, key: str, documents: int = 30) -> str:
        """Hand such a job to the cluster."""
        job, shards = self.prepare(key, documents)
        for shard in shards:
            dispatch.submit(UUID(job), shard, self.ledger, get_settings())
        return job

    def waits(self, job: str) -> bool:
        return any(b.state in ("PENDING", "CLAIMED", "PROCESSING") for b in self.line.blocks(job))


@pytest.fixture(scope="module")
def elastic(postgres_server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elastic]:
    """A supervisor with a Dask scheduler and two workers; agent and controller run in the test."""
    home, dsn = tmp_path_factory.mktemp("elastic"), postgres_server.create()
    migrate(dsn)
    dask, dashboard = ports.free_ports(2)
    environment = {
        "TRADU_HOME": str(home),
        "TRADU_LEDGER_URL": dsn,
        "TRADU_STORE_URL": (home / "store").as_uri(),
        "TRADU_LANDING_URL": (home / "landing").as_uri(),
        "TRADU_DASK_SCHEDULER": f"tcp://127.0.0.1:{dask}",
        "TRADU_DASK_DASHBOARD_PORT": str(dashboard),
        "TRADU_BATCH_CHARS": "200",
    }
    (home / "scaling.yaml").write_text(POLICY)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        layout, ledger = Layout(get_settings()), Ledger(dsn, "test")
        for folder in (layout.run, layout.logs, layout.home / "dask", home / "landing"):
            folder.mkdir()
        store = Store(environment["TRADU_STORE_URL"])
        store.create()
        listed = [s for s in services(layout, HOST) if s.name == "dask-scheduler"] + dask_workers(layout, HOST)
        config = layout.run / "supervisord.conf"
        config.write_text(supervisor_config(layout, listed))
        supervisor = Supervisor(layout)
        supervisor.start(config, airflow_config.environment(layout, os.environ))
        try:
            for service in listed:
                supervisor.start_service("line", service.name)
            yield Elastic(
                layout,
                ledger,
                Line(home, ledger, store),
                Controller(ledger, get_settings(), "first"),
                HostAgent(ledger, layout, HOST),
            )
        finally:
            supervisor.shutdown(20)
            processes.sweep(layout.identity, None)
            ledger.close()
            postgres_server.drop(dsn)


def test_an_idle_pool_shrinks_to_its_floor_a_worker_at_a_time(elastic: Elastic) -> None:
    elastic.until("all workers", lambda: elastic.joined() == WORKERS)
    elastic.have(1)
    assert elastic.states()["dask-worker-0"] == "RUNNING"
    assert Counter(do for do, _ in elastic.done) == {Do.RETIRE: WORKERS - 1, Do.STOP: WORKERS - 1}
    wanted = [d.wanted for d in elastic.decided]
    assert sorted(set(wanted), reverse=True) == [2, 1]
    assert wanted == sorted(wanted, reverse=True)


def test_it_grows_with_the_queue(elastic: Elastic) -> None:
    elastic.decided.clear()
    job = elastic.submit("grow")
    elastic.until("growth", lambda: elastic.decided and elastic.decided[-1].wanted == WORKERS)
    assert Rule.QUEUE in {d.rule for d in elastic.decided}
    elastic.until("the job's end", lambda: not elastic.waits(job))
    assert {b.attempt for b in elastic.line.blocks(job)} == {1}


def test_rolling_loses_nothing_and_redoes_less_than_a_batch_a_worker(elastic: Elastic) -> None:
    elastic.hold(WORKERS)
    before, job = elastic.pids(), elastic.submit("roll", 60)
    elastic.done.clear()
    with elastic.ledger.transaction() as tx:
        tx.run("roll_pool", pool="cpu")
    working = elastic.waits(job)
    elastic.until("new workers", lambda: _left(elastic) == 0 and elastic.joined() == WORKERS)
    after = elastic.pids()
    assert working
    assert all(after[f"dask-worker-{n}"] != before[f"dask-worker-{n}"] for n in range(WORKERS))
    assert after["dask-scheduler"] == before["dask-scheduler"]
    assert [do for do, _ in elastic.done if do is not Do.START] == [Do.RETIRE, Do.STOP] * WORKERS, "one after another"
    elastic.until("the job's end", lambda: not elastic.waits(job))
    blocks = elastic.line.blocks(job)
    again = {b.batch for b in blocks if b.attempt > 1}
    assert len(again) < WORKERS
    assert {b.state for b in blocks} == {"VALIDATING"}


def _left(elastic: Elastic) -> int:
    with elastic.ledger.transaction() as tx:
        return pools.left_to_roll(tx, "cpu")


def test_a_half_of_the_workers_that_is_killed_comes_back_by_itself(elastic: Elastic) -> None:
    elastic.hold(WORKERS)
    elastic.done.clear()
    victim = elastic.pids()["dask-worker-0"]
    assert victim
    os.kill(victim, signal.SIGKILL)
    elastic.until("its end", lambda: elastic.joined() < WORKERS)
    elastic.have(WORKERS)
    assert victim not in elastic.pids().values()
    assert elastic.done == [], "that is the supervisor's work"


def test_a_new_agent_goes_on_with_a_worker_that_is_retiring(elastic: Elastic) -> None:
    elastic.hold(WORKERS)
    with elastic.ledger.transaction() as tx:
        tx.run("set_pool", pool="cpu", wanted=1, by="test")
    while (Do.RETIRE, "dask-worker-1") not in elastic.agent.tick():
        time.sleep(0.1)
    elastic.agent, elastic.done = HostAgent(elastic.ledger, elastic.layout, HOST), []
    elastic.have(1)
    assert elastic.done == [(Do.STOP, "dask-worker-1")]


def test_nothing_grows_while_the_scheduler_is_frozen(elastic: Elastic) -> None:
    elastic.hold(1)
    elastic.hold(None)
    scheduler = elastic.pids()["dask-scheduler"]
    assert scheduler
    job = elastic.submit("frozen")
    os.kill(scheduler, signal.SIGSTOP)
    try:
        elastic.decided.clear()
        elastic.until("stale", lambda: elastic.decided and elastic.decided[-1].reason.startswith("scheduler: "))
        stale = [d for d in elastic.decided if d.rule is Rule.STALE]
        elastic.tick()
        assert {d.wanted for d in (*stale, elastic.decided[-1])} == {stale[0].wanted}
        assert elastic.decided[-1].rule is Rule.STALE
    finally:
        os.kill(scheduler, signal.SIGCONT)
    elastic.until("the job's end", lambda: not elastic.waits(job))


def test_nothing_grows_while_blocks_fail(elastic: Elastic, monkeypatch: pytest.MonkeyPatch) -> None:
    elastic.hold(1)
    elastic.prepare("waits", 5)  # nobody works on it: there is always something to grow for
    job, _ = elastic.prepare("fails", 20)
    batches = sorted({b.batch for b in elastic.line.blocks(job) if b.batch is not None})
    real = batch.attempt

    def fails(ledger: Ledger, job: UUID, task: Any, *rest: Any, **named: Any) -> Any:
        if task.batch % 10 == 0:
            raise ModelError("the engine died")
        return real(ledger, job, task, *rest, **named)

    monkeypatch.setattr(batch, "attempt", fails)
    monkeypatch.setattr(batch, "LOOK_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(batch, "PATIENCE_SECONDS", -60.0)
    with elastic.ledger.transaction() as tx:
        tx.connection.execute("DELETE FROM throughput")
    for number in batches:
        batch.run_batch(job, number)
    elastic.decided.clear()
    elastic.hold(None)
    elastic.until("errors", lambda: elastic.decided and elastic.decided[-1].rule is Rule.ERRORS)
    assert {d.wanted for d in elastic.decided} == {1}
    assert "of the blocks fail" in elastic.decided[-1].reason


def test_decisions_can_be_made_again_from_what_was_written(elastic: Elastic) -> None:
    with elastic.ledger.transaction() as tx:
        rows = tx.rows("decisions_about", pools.DecisionRow, pool="cpu", limit=1_000)
    assert {row.rule for row in rows} >= {Rule.QUEUE, Rule.COOLING, Rule.SPARE, Rule.STALE, Rule.ERRORS, Rule.PAUSED}
    for row in rows:
        again = replayed(row.inputs)
        assert (again.wanted, again.rule, again.reason) == (row.wanted, row.rule, row.reason)
    text = (elastic.layout.home / "metrics" / "controller.prom").read_text()
    assert 'tradu_pool_wanted_workers{pool="cpu"}' in text
