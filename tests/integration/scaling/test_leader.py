"""Two real controllers: the one that leads is frozen in the middle of a decision, comes back, and does no harm."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest

from fixtures.postgres import TestServer
from tradu.cluster.scaling import controller as controlling
from tradu.ledger import pools
from tradu.ledger.connection import Ledger
from tradu.ledger.pools import DecisionRow
from tradu.ledger.rows import Incident
from tradu.settings import get_settings
from tradu.store import Store

Found = TypeVar("Found")


class SilentScheduler:
    """Takes connections and never says anything, as a Dask scheduler that hangs.

    Only a controller that leads asks it, after it has taken the lead and before it writes; it waits there for seconds.
    """

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._socket.getsockname()[1]}"

    def asked(self, seconds: float) -> socket.socket:
        """Somebody has just connected."""
        self._socket.settimeout(seconds)
        connection, _ = self._socket.accept()
        return connection

    def ignore(self) -> None:
        """Those that have connected by now."""
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self._socket.accept()[0].close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def scheduler() -> Iterator[SilentScheduler]:
    silent = SilentScheduler()
    yield silent
    silent.close()


@pytest.fixture
def ledger(
    ledger_database: str, scheduler: SilentScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ledger]:
    """A ledger with a pool of two workers, for whoever is started from here."""
    for name, value in {
        "TRADU_HOME": str(tmp_path),
        "TRADU_LEDGER_URL": ledger_database,
        "TRADU_STORE_URL": (tmp_path / "store").as_uri(),
        "TRADU_DASK_SCHEDULER": scheduler.address,
    }.items():
        monkeypatch.setenv(name, value)
    Store((tmp_path / "store").as_uri()).create()
    ledger = Ledger(ledger_database, "test")
    with ledger.transaction() as tx:
        tx.run("want", pool="cpu", epoch=0, wanted=2, direction=0, changed_at=time.time(), spare_since=None)
    yield ledger
    ledger.close()


@pytest.fixture
def controllers(ledger: Ledger) -> Iterator[dict[int, subprocess.Popen[bytes]]]:
    """Two processes of `tradu controller`, by their ids."""
    command = [sys.executable, "-m", "tradu.cli.main", "controller"]
    running = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(2)]
    yield {process.pid: process for process in running}
    for process in running:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(10)


def until(what: str, look: Callable[[], Found | None], seconds: float = 60) -> Found:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def leader(ledger: Ledger) -> tuple[int, int] | None:
    """Process and epoch of the controller that leads."""
    with ledger.transaction() as tx:
        rows = tx.tuples("leader")
    return (int(rows[0][0].rsplit(":", 1)[1]), rows[0][1]) if rows else None


def test_a_leader_that_ends_while_the_ledger_is_away_ends_quietly(
    ledger: Ledger,
    postgres_server: TestServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("tradu.ledger.connection.WAIT_SECONDS", 0.2)
    own = Ledger(ledger.dsn, "leader")
    leading = controlling.Controller(own, get_settings(), "leader")
    with own.transaction() as tx:
        leading.epoch = pools.lead(tx, "leader", 0, controlling.LEASE_SECONDS) or 0
    assert leading.epoch
    postgres_server.drop(ledger.dsn)
    ended = threading.Event()
    ended.set()
    leading.run(ended)
    own.close()
    assert "could not step down, its lease ends by itself within 5 s" in caplog.text


def freeze(ledger: Ledger, scheduler: SilentScheduler) -> tuple[int, int]:
    """Stop the leading controller where it has the lead and hasn't written yet; its process and epoch."""
    while True:
        with scheduler.asked(60) as connection:
            found = leader(ledger)
            assert found
            os.kill(found[0], signal.SIGSTOP)
            connection.setblocking(False)
            with suppress(BlockingIOError):
                while connection.recv(4_096):  # it is still connected, and so still waits
                    pass
                os.kill(found[0], signal.SIGCONT)  # too late: it has given up waiting, and writes
                continue
            return found


def wanted_by(ledger: Ledger) -> int:
    """The epoch that has written the last decision about the pool."""
    with ledger.transaction() as tx:
        return pools.pools(tx)["cpu"].epoch


def refusals(ledger: Ledger) -> list[Incident]:
    with ledger.transaction() as tx:
        return [i for i in tx.rows("incidents", Incident, job_id=None, limit=10) if i.kind == "stale_controller"]


def test_a_frozen_leader_is_replaced_and_refused(
    ledger: Ledger, scheduler: SilentScheduler, controllers: dict[int, subprocess.Popen[bytes]]
) -> None:
    old, epoch = freeze(ledger, scheduler)
    (other,) = controllers.keys() - {old}
    scheduler.ignore()
    lease = controlling.LEASE_SECONDS
    assert until("another one leads", lambda: (at := leader(ledger)) and at[0] == other and at, 4 * lease) == (
        other,
        epoch + 1,
    )
    until("it decides", lambda: wanted_by(ledger) == epoch + 1)

    os.kill(old, signal.SIGCONT)
    (refused,) = until("the old one to be refused", lambda: refusals(ledger))
    assert refused.entity_id
    assert refused.entity_id.endswith(f":{old}")
    assert wanted_by(ledger) == epoch + 1
    assert controllers[old].poll() is None, "it follows"

    controllers[other].kill()
    until(
        "the old one to lead again, when its successor was killed",
        lambda: leader(ledger) == (old, epoch + 2),
        4 * lease,
    )
    until("it decides", lambda: wanted_by(ledger) == epoch + 2)
    with ledger.transaction() as tx:
        rows = tx.rows("decisions_about", DecisionRow, pool="cpu", limit=100)
    epochs = [row.epoch for row in rows]
    assert epochs == sorted(epochs, reverse=True), "nothing of an older epoch came after a newer one"
    assert {row.wanted for row in rows} == {2}, "and nothing was changed on signals that nobody had heard"
    controllers[old].terminate()
    assert controllers[old].wait(10) == 0
    assert leader(ledger) is None, "it leaves the lead to whoever comes next"
