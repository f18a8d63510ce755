"""SIGKILL in the act of every stage of the line: each stage goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from drills import harm
from drills.drill import STAGES, Begin, Drill, Undisturbed
from drills.prose import MANY
from fixtures.stack import Stack

MOST_JOBS = 4
"""What is killed may not be back when the next stage is over already: that one is drilled in another job."""
SERVICES = (
    "dask-worker-0",
    "dask-scheduler",
    "airflow-scheduler",
    "airflow-triggerer",
    "airflow-api-server",
    "postgres",
)
pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]


def in_every_stage(
    start: Callable[[], Drill],
    aim: Callable[[Drill, str], int | None],
    strike: Callable[[Drill, int], None],
    prove: Callable[[Drill, list[str]], None],
    stages: Sequence[str] = STAGES,
) -> None:
    """Do a harm in the act of each stage, in as few jobs as that takes; each job is proved right.

    Args:
        start: starts a job.
        aim: what the harm would hit in a stage; None while it can't be hit.
        strike: does the harm to that.
        prove: waits for the end of the job, given the stages in which it was harmed.
        stages: where to do it.
    """
    missing = list(stages)
    for _ in range(MOST_JOBS):
        drill = start()
        hit = [stage for stage in missing if _hit(drill, stage, aim, strike)]
        prove(drill, hit)
        missing = [stage for stage in missing if stage not in hit]
        if not missing:
            return
    pytest.fail(f"{MOST_JOBS} jobs were over before the harm was done in {', '.join(missing)}")


def _hit(
    drill: Drill, stage: str, aim: Callable[[Drill, str], int | None], strike: Callable[[Drill, int], None]
) -> bool:
    caught = drill.catch(stage, lambda stage: aim(drill, stage))
    if caught is None:
        return False
    target, token = caught
    moment = datetime.now(UTC)
    strike(drill, target)
    drill.harmed(moment)
    return drill.in_the_act(stage, token, moment)


def kill_in_every_stage(
    stack: Stack,
    begin: Begin,
    reference: Undisturbed,
    name: str,
    aim: Callable[[Drill, str], int | None],
    stages: Sequence[str] = STAGES,
) -> None:
    """SIGKILL to what `aim` gives, in each stage."""

    def prove(drill: Drill, hit: list[str]) -> None:
        before = {stage: drill.attempts.get(stage, 0) for stage in hit}
        drill.finish(f"SIGKILL to {name} in each of {len(stages)} stages", reference)
        for stage, attempt in before.items():
            assert drill.task(stage)[1] > attempt or not attempt, f"{stage} was not tried again"

    def strike(drill: Drill, pid: int) -> None:
        harm.kill(drill.layout, pid)

    in_every_stage(lambda: begin(stack, f"{name} in every stage", MANY), aim, strike, prove, stages)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_killed_in_every_stage(drilled: Stack, many_run: Undisturbed, begin: Begin, service: str) -> None:
    kill_in_every_stage(drilled, begin, many_run, service, lambda drill, _: harm.running(drill.layout, service))


def test_the_task_is_killed_in_every_stage(drilled: Stack, many_run: Undisturbed, begin: Begin) -> None:
    def aim(drill: Drill, stage: str) -> int | None:
        found = drill.running_task(stage)
        if found is None:
            return None
        _, drill.attempts[stage], pid = found
        return pid

    stages = [stage for stage in STAGES if stage != "infer"]  # of which test_tasks.py is
    kill_in_every_stage(drilled, begin, many_run, "airflow-task", aim, stages)
