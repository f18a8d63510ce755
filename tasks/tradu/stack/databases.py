"""Bringing both databases up to date, and only when they are not."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Mapping

import psycopg

from tradu.errors import SystemicError
from tradu.stack.layout import Layout
from tradu.stack.private import write_private


def airflow_revision(dsn: str) -> str | None:
    """The schema revision of Airflow's metadata database; None while it is empty."""
    with psycopg.connect(dsn, connect_timeout=10, autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def airflow_is_current(layout: Layout) -> bool:
    """Whether the database is as this version of Airflow left it.

    Asking Airflow itself means importing it, which costs more than everything else here.
    """
    stamp = layout.airflow_home / "metadata.json"
    try:
        known = json.loads(stamp.read_text())
    except (OSError, ValueError):
        return False
    return bool(known == _state(layout))


def _state(layout: Layout) -> dict[str, str | None]:
    return {
        "airflow": importlib.metadata.version("apache-airflow-core"),
        "revision": airflow_revision(layout.airflow_dsn),
    }


def migrate_airflow(layout: Layout, environment: Mapping[str, str]) -> None:
    """Create or upgrade Airflow's metadata database (an empty one is made from the models, without history).

    Raises:
        SystemicError: Airflow refused; the message ends with what it said.
    """
    if airflow_is_current(layout):
        return
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=dict(environment),
        cwd=layout.airflow_home,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemicError(f"airflow db migrate failed: {(done.stderr or done.stdout).strip()[-1500:]}")
    write_private(layout.airflow_home / "metadata.json", json.dumps(_state(layout)))


def migrate_ledger(layout: Layout) -> None:
    """Bring the ledger's schema up to date."""
    from tradu.ledger.migrate import migrate

    migrate(layout.settings.ledger_dsn)
