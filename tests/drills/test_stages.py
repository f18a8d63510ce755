"""SIGKILL in every stage of one job, one after another: each stage goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from drills import harm
from drills.drill import JOB_SECONDS, Begin, Drill, Undisturbed
from drills.eyes import soon
from drills.prose import MANY
from fixtures.stack import Stack

STAGES = (
    "ingest",
    "gate_documents",
    "partition",
    "gate_blocks",
    "infer",
    "gate_translations",
    "assemble",
    "gate_output",
    "publish",
)
SERVICES = (
    "dask-worker-0",
    "dask-scheduler",
    "airflow-scheduler",
    "airflow-triggerer",
    "airflow-api-server",
    "postgres",
)
pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]


def in_every_stage(drill: Drill, strike: Callable[[str], None]) -> None:
    """Do a harm in each stage as the job comes to it."""
    for stage in STAGES:
        drill.reach_stage(stage)
        strike(stage)
        drill.harmed()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_killedin_every_stage(drilled: Stack, many_run: Undisturbed, begin: Begin, service: str) -> None:
    drill = begin(drilled, f"{service} in every stage", MANY)
    in_every_stage(drill, lambda _: harm.kill_service(drill.layout, service))
    drill.finish(f"SIGKILL to {service} in each of {len(STAGES)} stages", many_run)


def test_the_task_is_killedin_every_stage(drilled: Stack, many_run: Undisturbed, begin: Begin) -> None:
    drill = begin(drilled, "airflow-task in every stage", MANY)
    stages = [stage for stage in STAGES if stage != "infer"]  # of which test_tasks.py is
    attempts: dict[str, int] = {}
    for stage in stages:
        _, attempts[stage], pid = soon(f"{stage} to run", partial(drill.running_task, stage), JOB_SECONDS)
        drill.reach_stage(stage)
        harm.kill(drill.layout, pid)
        drill.harmed()
    drill.finish(f"SIGKILL to the task of each of {len(stages)} stages", many_run)
    again = {stage: drill.task(stage)[1] for stage in stages}
    assert all(again[stage] > attempts[stage] for stage in stages), f"attempts: {attempts}, then {again}"
