"""SIGKILL at a random moment while blocks are translated: whatever it hits, the job finishes as if nothing was."""

from __future__ import annotations

import os
import signal

import pytest

from drills import harm
from drills.drill import Begin, Undisturbed
from drills.prose import LONG
from fixtures.stack import Stack

SERVICES = ("dask-scheduler", "airflow-scheduler", "airflow-triggerer", "airflow-api-server", "postgres")
pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_killed(drilled: Stack, long_run: Undisturbed, begin: Begin, service: str) -> None:
    drill = begin(drilled, f"{service} in infer", LONG)
    drill.reach_share()
    harm.kill_service(drill.layout, service)
    drill.harmed()
    drill.finish(f"SIGKILL to {service}", long_run)


@pytest.mark.parametrize("service", ["airflow-scheduler", "dask-scheduler"])
def test_a_scheduler_freezes(drilled: Stack, long_run: Undisturbed, begin: Begin, service: str) -> None:
    drill = begin(drilled, f"{service} frozen", LONG)
    drill.reach_share()
    os.kill(harm.pid_of(drill.layout, service), signal.SIGSTOP)
    drill.harmed()
    drill.finish(f"SIGSTOP to {service}, for good", long_run)
