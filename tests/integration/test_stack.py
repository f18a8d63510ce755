"""A whole stack in a scratch home, on free ports: up, killed, up again, down, and nothing is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tradu.settings import Settings
from tradu.stack import account, clean, doctor, health, lifecycle, ports, processes
from tradu.stack.airflow_config import api_password
from tradu.stack.layout import Layout
from tradu.stack.supervise import Supervisor

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    postgres, api, dask, dashboard = ports.free_ports(4)
    made = Settings(
        home=tmp_path_factory.mktemp("stack") / "home",
        postgres_port=postgres,
        api_url=f"http://127.0.0.1:{api}",
        dask_scheduler=f"tcp://127.0.0.1:{dask}",
        dask_dashboard_port=dashboard,
        workers=1,
    )
    try:
        yield made
    finally:
        clean.clean(made)


def _pid(settings: Settings, name: str) -> int:
    pid = next(state.pid for state in Supervisor(Layout(settings)).states() if state.name == name)
    assert pid is not None
    return pid


def _addresses(layout: Layout) -> set[str]:
    """The addresses on which the stack's processes listen."""
    found: set[str] = set()
    for process in processes.marked(layout.identity):
        with suppress(psutil.NoSuchProcess):
            found |= {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    return found


def _unwell(settings: Settings) -> list[str]:
    return [service.name for service in lifecycle.status(settings) if service.healthy is False]


@pytest.mark.timeout(600)
def test_the_life_of_a_stack(settings: Settings) -> None:
    layout = Layout(settings)

    seconds = lifecycle.up(settings)
    print("up:", seconds)
    assert _unwell(settings) == []
    assert health.sign_in(layout, api_password(layout)) is None
    assert health.sign_in(layout, "wrong") is not None
    assert health.dask_worker_names(settings.dask_scheduler) == [f"{layout.identity[:4]}-0"]
    assert _addresses(layout) == {ports.LOOPBACK}
    bad = [finding for finding in doctor.doctor(settings) if finding.level == "error" and finding.name != "models"]
    assert bad == []

    supervisor = Supervisor(layout).pid()
    assert lifecycle.up(settings)["total"] < 10
    assert Supervisor(layout).pid() == supervisor

    worker = _pid(settings, "dask-worker-0")
    os.kill(worker, signal.SIGKILL)
    lifecycle.up(settings)
    assert _pid(settings, "dask-worker-0") != worker

    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    lifecycle.up(settings)
    assert _unwell(settings) == []

    begun = time.monotonic()
    lifecycle.down(settings)
    assert time.monotonic() - begun < 20
    assert processes.marked(layout.identity) == []
    assert lifecycle.status(settings) == []
    assert all(ports.is_free(port) for port, _ in layout.ports().values())
    lifecycle.down(settings)


@pytest.mark.timeout(300)
def test_down_and_clean_after_the_supervisor_was_killed(settings: Settings) -> None:
    layout = Layout(settings)
    lifecycle.up(settings)
    pid = Supervisor(layout).pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert lifecycle.down(settings) > 0
    assert processes.marked(layout.identity) == []
    clean.clean(settings)
    assert not settings.home.exists()
    assert not Path(account.folder_for(settings.home)).exists()
