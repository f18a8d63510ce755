"""A Dask scheduler that is frozen: its connections are made, by the kernel, and then nobody answers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from typer.testing import CliRunner

from tradu.cli.main import app
from tradu.cluster import dispatch, warm
from tradu.errors import SystemicError
from tradu.settings import Settings
from tradu.stack import health, liveness
from tradu.stack.layout import AIRFLOW_URL_VARIABLE, Layout
from tradu.stack.services import DASK_SCHEDULER
from tradu.stack.supervise import RUNNING, ProcessState, Supervisor

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setattr(dispatch, "CONNECT_SECONDS", 1)
    monkeypatch.setattr(warm, "CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        address = f"tcp://127.0.0.1:{frozen.getsockname()[1]}"
        monkeypatch.setenv("TRADU_DASK_SCHEDULER", address)
        monkeypatch.setenv(AIRFLOW_URL_VARIABLE, "postgresql://nobody@127.0.0.1:1/airflow")
        yield Settings(home=tmp_path, dask_scheduler=address)


@pytest.mark.parametrize("call", [dispatch.fed, lambda settings: warm.ask(lambda _: {}, settings)])
def test_who_needs_it_is_told(settings: Settings, call: Callable[[Settings], object]) -> None:
    with pytest.raises(SystemicError, match="does not answer"):
        call(settings)


def test_a_person_is_told(settings: Settings) -> None:
    assert health.dask_worker_names(settings.dask_scheduler) is None
    told = CliRunner().invoke(app, ["models", "workers"])
    assert told.exit_code == 3
    assert "does not answer" in told.stderr


class _Supervised:
    """A supervisor of one process, which it calls the Dask scheduler."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def states(self) -> list[ProcessState]:
        return [ProcessState(DASK_SCHEDULER, RUNNING, self._pid, 1_000.0, was_started=True)]


def test_it_is_ended_with_its_group_after_a_long_silence(settings: Settings) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        supervisor, silence = cast("Supervisor", _Supervised(process.pid)), liveness.Silence()
        os.kill(process.pid, signal.SIGSTOP)
        liveness._look(Layout(settings), supervisor, silence)
        assert process.poll() is None
        silence.since[DASK_SCHEDULER] -= liveness.SILENT_SECONDS
        liveness._look(Layout(settings), supervisor, silence)
        assert process.wait() == -signal.SIGKILL
