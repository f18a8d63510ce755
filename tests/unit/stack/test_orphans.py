"""Workers that a scheduler has forked: they end with it, and one that is killed keeps no other from working."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

SCHEDULER = """
import multiprocessing, os, sys
from tradu.stack.orphans import end_with_this_process

end_with_this_process()
fork = multiprocessing.get_context("fork")
work, answers = fork.SimpleQueue(), fork.SimpleQueue()

def nested(queue):
    queue.put(os.getpid())

def worker():
    while True:
        if work.get() == "fork":  # what a worker forks uses queues as ever
            own = fork.SimpleQueue()
            child = fork.Process(target=nested, args=(own,))
            child.start()
            own.get()
            child.join()
        answers.put(os.getpid())

workers = [fork.Process(target=worker) for _ in range(3)]
for one in workers:
    one.start()
print(*(one.pid for one in workers), flush=True)
for line in sys.stdin:
    work.put(line.strip())
    print(answers.get(), flush=True)
"""
WAIT_SECONDS = 20


@pytest.fixture
def scheduler() -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", SCHEDULER]
    quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, text=True, **quiet) as process:  # its workers end with a traceback
        yield process
        process.kill()


def _workers(scheduler: subprocess.Popen[str]) -> list[psutil.Process]:
    assert scheduler.stdout is not None
    return [psutil.Process(int(pid)) for pid in scheduler.stdout.readline().split()]


def _ask(scheduler: subprocess.Popen[str], item: str) -> int:
    assert scheduler.stdin is not None
    assert scheduler.stdout is not None
    scheduler.stdin.write(f"{item}\n")
    scheduler.stdin.flush()
    return int(scheduler.stdout.readline())


def test_they_end_with_their_scheduler(scheduler: subprocess.Popen[str]) -> None:
    workers = _workers(scheduler)
    assert _ask(scheduler, "work") in {worker.pid for worker in workers}
    os.kill(scheduler.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=WAIT_SECONDS)
    assert alive == []


def test_lost_workers_block_no_other(scheduler: subprocess.Popen[str]) -> None:
    *lost, left = _workers(scheduler)
    for worker in lost:
        worker.kill()
    assert {_ask(scheduler, "work") for _ in range(20)} == {left.pid}


def test_what_a_worker_forks_uses_queues_as_ever(scheduler: subprocess.Popen[str]) -> None:
    workers = _workers(scheduler)
    assert _ask(scheduler, "fork") in {worker.pid for worker in workers}
