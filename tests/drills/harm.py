"""The harms that a drill does to a stack, each of which must be seen to have hit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from drills.eyes import soon
from tradu.stack import processes
from tradu.stack.airflow_config import MARK
from tradu.stack.layout import Layout
from tradu.stack.supervise import RUNNING, Supervisor

GONE_SECONDS = 20.0
BACK_SECONDS = 120.0


def running(layout: Layout, service: str) -> int | None:
    """The process of a service; None while the supervisor does not run it."""
    pid = next((s.pid for s in Supervisor(layout).states() if s.name == service and s.state == RUNNING), None)
    # the supervisor takes a moment to see that a process has ended
    return pid if pid and psutil.pid_exists(pid) and _lives(psutil.Process(pid)) else None


def pid_of(layout: Layout, service: str) -> int:
    """The process of a service, as soon as the supervisor runs it."""
    return soon(f"{service} to run", lambda: running(layout, service), BACK_SECONDS)


def kill(layout: Layout, pid: int) -> None:
    """SIGKILL to one process of the stack, which was alive and is gone afterwards."""
    victim = psutil.Process(pid)
    assert victim.environ().get(MARK) == layout.identity, f"{pid} is no process of the stack"
    assert _lives(victim), f"{pid} had ended before it was killed"
    os.kill(pid, signal.SIGKILL)
    soon(f"process {pid} to be gone", lambda: not _lives(victim), GONE_SECONDS)


def kill_service(layout: Layout, service: str) -> int:
    """SIGKILL to the process of a service; which it was."""
    pid = pid_of(layout, service)
    kill(layout, pid)
    return pid


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def strays(layout: Layout) -> list[psutil.Process]:
    """Processes of the stack that no supervisor leads to any more."""
    top = Supervisor(layout).pid()
    led = {process.pid for process in processes.tree(top)} if top else set()
    return [process for process in processes.marked(layout.identity) if process.pid not in led]


def fill(folder: Path) -> Path:
    """Fill the file system of a folder to the last byte; the file that does."""
    target = folder / "filler"
    with target.open("wb", buffering=0) as stream:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while stream.write(b"\0" * size):
                    pass
            except OSError:
                continue
    free = os.statvfs(folder).f_bavail
    if free:
        pytest.fail(f"{folder} has {free} blocks free after it was filled")
    return target
