"""Leftover processes are found by their mark, whatever they call themselves, and only they are stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from tradu.stack import processes
from tradu.stack.airflow_config import MARK

STUBBORN = """
import signal, sys, time
import setproctitle
signal.signal(signal.SIGTERM, signal.SIG_IGN)
setproctitle.setproctitle("something else entirely " * 20)
print("ready", flush=True)
time.sleep(60)
"""


def _start(mark: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN],
        env={**os.environ, MARK: mark, "SPT_NOENV": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def pair() -> Iterator[tuple[str, subprocess.Popen[str], subprocess.Popen[str]]]:
    mark = uuid.uuid4().hex[:12]
    mine, other = _start(mark), _start(f"{mark}0")
    yield mark, mine, other
    for process in (mine, other):
        process.kill()
        process.communicate()


def test_only_marked_processes_are_stopped(
    pair: tuple[str, subprocess.Popen[str], subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, mine, other = pair
    monkeypatch.setenv(MARK, mark)
    assert [process.pid for process in processes.marked(mark)] == [mine.pid]
    assert processes.sweep(mark, None, keep=[mine.pid]) == 0
    assert processes.sweep(mark, None) == 1
    assert mine.wait(5) is not None  # it ignores SIGTERM, and psutil has taken its exit status
    assert other.poll() is None
    assert processes.marked(mark) == []


def test_memory_of_a_process_that_is_gone_is_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert processes.pss_bytes(gone.pid) == 0
    assert processes.pss_bytes(os.getpid()) > 0
