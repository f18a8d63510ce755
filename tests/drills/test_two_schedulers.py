"""Two Airflow schedulers on the one database: either of them alone carries a run on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from drills import harm
from drills.drill import Begin, Drill, Undisturbed, undisturbed
from drills.prose import LONG, MANY
from drills.test_stages import kill_in_every_stage
from fixtures.stack import Stack, command

SCHEDULERS = ("airflow-scheduler", "airflow-scheduler-2")
pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def doubled(drilled: Stack) -> Stack:
    """The stack, started again with a second scheduler."""
    environment = dict(drilled.environment) | {"TRADU_AIRFLOW_SCHEDULERS": "2"}
    command("down", environment)
    command("up", environment)
    settings = drilled.settings.model_copy(update={"airflow_schedulers": 2})
    return replace(drilled, environment=environment, settings=settings)


@pytest.fixture(scope="module")
def long_doubled(doubled: Stack) -> Undisturbed:
    return undisturbed(doubled, LONG, "undisturbed long, two schedulers")


@pytest.fixture(scope="module")
def many_doubled(doubled: Stack) -> Undisturbed:
    return undisturbed(doubled, MANY, "undisturbed many, two schedulers")


@pytest.fixture
def frozen() -> Iterator[list[int]]:
    """Processes to be let go again."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("service", SCHEDULERS)
def test_the_other_one_carries_on(
    doubled: Stack, long_doubled: Undisturbed, begin: Begin, service: str, frozen: list[int]
) -> None:
    drill = begin(doubled, f"{service} of two in infer", LONG)
    drill.reach_share()
    killed = harm.kill_service(drill.layout, service)
    drill.harmed()
    again = harm.pid_of(drill.layout, service)
    assert again != killed
    os.kill(again, signal.SIGSTOP)  # the supervisor's new one gets no chance: the other one must do it all
    frozen.append(again)
    drill.wait_for_end()
    os.kill(again, signal.SIGCONT)
    drill.finish(f"SIGKILL to {service}, which stays away until the job is done", long_doubled)


def test_one_of_two_is_killed_in_every_stage(doubled: Stack, many_doubled: Undisturbed, begin: Begin) -> None:
    def aim(drill: Drill, _stage: str) -> int | None:
        return harm.running(drill.layout, drill.random.choice(SCHEDULERS))

    kill_in_every_stage(doubled, begin, many_doubled, "one of two airflow-schedulers", aim)
