"""Airflow's metadata is cleaned in a real database of Airflow's, as a task would have it done."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tradu.errors import SystemicError
from tradu.settings import Settings
from tradu.stack.airflow_clean import clean

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def log_rows(database: Path) -> list[str]:
    with sqlite3.connect(database) as connection:
        return [event for (event,) in connection.execute("SELECT event FROM log WHERE event LIKE 'row %' ORDER BY id")]


def test_old_records_go_and_young_ones_stay(tmp_path: Path) -> None:
    database, real = tmp_path / "airflow.db", f"sqlite:///{tmp_path}/airflow.db"
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
    made = environment | {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": real}
    subprocess.run(migrate, env=made, check=True, capture_output=True)
    with sqlite3.connect(database) as connection:
        for days in (1, 29, 31, 400):
            at = (NOW - timedelta(days=days)).isoformat(sep=" ")
            connection.execute("INSERT INTO log (dttm, event) VALUES (?, ?)", (at, f"row {days}"))
    # as Airflow leaves the environment of a task
    hidden = environment | {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "airflow-db-not-allowed:///"}
    settings = Settings(airflow_database_url=real, airflow_retention_days=30)
    assert clean(settings, NOW, hidden, dry_run=True) == 2
    assert log_rows(database) == ["row 1", "row 29", "row 31", "row 400"]
    assert clean(settings, NOW, hidden, dry_run=False) == 2
    assert log_rows(database) == ["row 1", "row 29"]


def test_a_database_that_is_away_fails_the_task_without_its_password(tmp_path: Path) -> None:
    settings = Settings(airflow_database_url="postgresql+psycopg2://airflow:hunter2@127.0.0.1:1/airflow")
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
    with pytest.raises(SystemicError, match="airflow db clean failed") as caught:
        clean(settings, NOW, environment, dry_run=False)
    assert "hunter2" not in str(caught.value)
