"""A model in a process of its own: killed, hung or without memory, it is replaced."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from fixtures import child
from tradu.errors import ModelError, ResourceError, UnwantedError
from tradu.inference import deadline
from tradu.inference.engines._child import Build, Child
from tradu.inference.made import Likelihood
from tradu.inference.model import Model

MODEL = Model("m", "1", "transformers", "standard", "en", "pt", "none", 1, 1.0)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child imports what it builds by its name."""
    before = os.environ.get("PYTHONPATH")
    paths = [str(Path(__file__).parents[2]), *([before] if before else [])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


def test_it_answers_and_says_what_failed() -> None:
    runs = Child(MODEL, child.build)
    pid = runs.pid
    assert [made.text for made in runs.run(["a", "b"])] == [f"a {pid}", f"b {pid}"]
    assert runs.score(["a"], ["abc"]) == [Likelihood(-1.0, -2.0, 3)]
    with pytest.raises(ModelError, match=r"^m: ValueError; the worker's log says more$"):
        runs.run(["fail"])
    assert runs.run(["a"])[0].text == f"a {pid}"
    runs.close()
    runs.close()
    assert pid is not None
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("memory", ResourceError, "out of memory: no room"),
        ("die", ResourceError, r"its process ended \(-9\)"),
        ("end", ModelError, r"its process ended \(3\)"),
    ],
)
def test_it_is_replaced(text: str, error: type[Exception], words: str) -> None:
    runs = Child(MODEL, child.build)
    first = runs.pid
    with pytest.raises(error, match=words):
        runs.run(["a", text])
    assert runs.run(["a"])[0].text == f"a {runs.pid}"
    assert runs.pid != first
    runs.close()


def test_a_kill_from_outside_between_calls_is_no_end() -> None:
    runs = Child(MODEL, child.build)
    assert runs.pid is not None
    os.kill(runs.pid, signal.SIGKILL)
    with pytest.raises(ResourceError):
        runs.run(["a"])
    assert runs.run(["a"])[0].text.startswith("a ")
    runs.close()


@pytest.mark.parametrize(("longest", "left"), [(1, 600), (600, 1)])
def test_one_that_hangs_is_ended(longest: float, left: float) -> None:
    runs = Child(MODEL, child.build)
    runs._longest_seconds = longest  # enough to answer in, not to start
    pid = runs.pid
    with deadline.within(left), pytest.raises(ModelError, match=r"no answer in (1|0\.99\d?) s"):
        runs.run(["hang"])
    assert pid is not None
    assert not psutil.pid_exists(pid)
    runs.close()


def test_one_that_nobody_waits_for_any_more_is_ended() -> None:
    runs, unwanted = Child(MODEL, child.build), threading.Event()
    pid = runs.pid
    assert pid is not None
    threading.Timer(0.2, unwanted.set).start()
    with deadline.within(600, unwanted), pytest.raises(UnwantedError):
        runs.run(["hang"])
    assert not psutil.pid_exists(pid)
    assert runs.run(["a"])[0].text == f"a {runs.pid}"
    runs.close()


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [(child.no_room, ResourceError, "too large"), (child.broken, ModelError, "no such file")],
)
def test_what_can_not_be_loaded_leaves_nothing(build: Build, error: type[Exception], words: str) -> None:
    before = {process.pid for process in psutil.Process().children()}
    with pytest.raises(error, match=words):
        Child(MODEL, build)
    assert {process.pid for process in psutil.Process().children()} <= before
