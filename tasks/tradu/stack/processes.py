"""Finding and stopping the processes of one stack, by the mark in their environment and never by their names."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tradu.stack.airflow_config import MARK


def _environment(pid: int) -> bytes:
    """The environment as the kernel shows it; empty for a process that is gone or not ours."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def marked(identity: str) -> list[psutil.Process]:
    """The living processes of the stack, not counting ourselves and those that started us."""
    wanted = f"{MARK}={identity}".encode()
    me = psutil.Process()
    spared = {me.pid, *(parent.pid for parent in me.parents())}
    found = []
    for pid in psutil.pids():
        if pid not in spared and wanted in _environment(pid).split(b"\0"):
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
    return [process for process in found if _lives(process)]


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def tree(pid: int) -> list[psutil.Process]:
    """A process and all its descendants; empty when it is gone."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def pss_bytes(pid: int) -> int:
    """Proportional memory of a process and its descendants, bytes: shared pages count once."""
    total = 0
    for process in tree(pid):
        with suppress(psutil.Error, OSError):
            total += int(process.memory_full_info().pss)
    return total


def stop(processes: Sequence[psutil.Process], first: signal.Signals, seconds: float) -> int:
    """Signal the processes, then kill those that stay; how many were alive."""
    alive = [process for process in processes if _lives(process)]
    _signal(alive, first)
    _, stubborn = psutil.wait_procs(alive, timeout=seconds)
    _signal(stubborn, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=5)
    return len(alive)


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # psutil checks the start time: a reused number is not signalled
            process.send_signal(number)


def sweep(identity: str, postmaster: int | None, keep: Iterable[int] = ()) -> int:
    """Stop every process of the stack that is left over; how many there were.

    PostgreSQL goes last and by its own fast shutdown, so that it has no recovery to do.
    """
    spared = set(keep)
    left = [process for process in marked(identity) if process.pid not in spared]
    family = {process.pid for process in tree(postmaster)} if postmaster else set()
    others = [process for process in left if process.pid not in family]
    count = stop(others, signal.SIGTERM, 3)
    main = [process for process in left if process.pid == postmaster]
    count += stop(main, signal.SIGINT, 8)
    return count + stop([process for process in left if process.pid in family], signal.SIGKILL, 1)
