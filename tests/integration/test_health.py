"""Health of schedulers side by side, as Airflow's table of jobs tells it."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from tradu.stack.health import scheduler_health

TABLE = """
CREATE TABLE job (job_type text, state text, start_date timestamptz, latest_heartbeat timestamptz)
"""
ADD = "INSERT INTO job VALUES (%s, %s, now() - make_interval(secs => %s), now() - make_interval(secs => %s))"
FIRST, SECOND = "airflow-scheduler", "airflow-scheduler-2"


@pytest.mark.parametrize(
    ("jobs", "healthy"),
    [
        ([(90, 1), (80, 1)], {FIRST: True, SECOND: True}),
        ([(90, 1)], {FIRST: True, SECOND: False}),
        ([(90, 60), (80, 1)], {FIRST: False, SECOND: True}),
        ([], {FIRST: False, SECOND: False}),
        # what the second one left before it was started again is no sign of its life
        ([(90, 1), (300, 1)], {FIRST: True, SECOND: False}),
    ],
    ids=["both", "second not there yet", "first fell silent", "none", "an entry of an earlier process"],
)
def test_each_needs_an_entry_of_its_own(
    empty_database: str, jobs: list[tuple[float, float]], healthy: dict[str, bool]
) -> None:
    with psycopg.connect(empty_database) as connection:
        connection.execute(TABLE)
        for begun, heard in jobs:
            connection.execute(ADD, ("SchedulerJob", "running", begun, heard))
        connection.execute(ADD, ("TriggererJob", "running", 1, 1))
        connection.execute(ADD, ("SchedulerJob", "failed", 1, 1))
    layout: Any = SimpleNamespace(airflow_dsn=empty_database)
    now = time.time()
    assert scheduler_health(layout, {FIRST: now - 100, SECOND: now - 85}) == healthy


def test_nobody_is_healthy_where_the_database_is_away() -> None:
    layout: Any = SimpleNamespace(airflow_dsn="postgresql://nobody@127.0.0.1:1/airflow")
    assert scheduler_health(layout, {FIRST: 0.0}) == {}
