"""Keeps Airflow's metadata database small: its own `airflow db clean`, in a process of its own.

A task may not reach that database: Airflow hides its address from it. The process is given the one of airflow.cfg, or
TRADU_AIRFLOW_DATABASE_URL where the address stands in no file.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta

from tradu.errors import SystemicError
from tradu.settings import Settings

log = logging.getLogger(__name__)
BATCH_ROWS = 10_000
TIMEOUT_SECONDS = 3_600
_HIDDEN = ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CORE__SQL_ALCHEMY_CONN")
_FOUND = re.compile(r"Found (\d+) rows meeting deletion criteria")
_SECRET = re.compile(r"://[^@\s]+@")


def clean(settings: Settings, now: datetime, caller: Mapping[str, str], *, dry_run: bool) -> int:
    """Delete what Airflow has kept for longer than TRADU_AIRFLOW_RETENTION_DAYS, for good; how many rows.

    The last run of each DAG stays. With `dry_run` nothing is deleted, and rows are counted. Once more does no harm.

    Raises:
        SystemicError: Airflow refused, or took over an hour; the message ends with what it said.
    """
    command = [sys.executable, "-m", "airflow", "db", "clean", "--yes", "--skip-archive", "--error-on-cleanup-failure"]
    command += ["--batch-size", str(BATCH_ROWS), *(["--dry-run"] if dry_run else [])]
    command += ["--clean-before-timestamp", (now - timedelta(days=settings.airflow_retention_days)).isoformat()]
    try:
        done = subprocess.run(
            command,
            env=environment(settings, caller),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SystemicError(
            f"airflow db clean was not done in {TIMEOUT_SECONDS} s: what it has deleted stays deleted"
        ) from None
    said = _SECRET.sub("://***@", f"{done.stdout}\n{done.stderr}".strip())
    if done.returncode:
        raise SystemicError(
            f"airflow db clean failed ({said[-800:]}): where airflow.cfg doesn't say where Airflow's database is, set "
            "TRADU_AIRFLOW_DATABASE_URL"
        )
    log.info("airflow db clean: %s", said[-2_000:])
    return sum(int(count) for count in _FOUND.findall(said))


def environment(settings: Settings, caller: Mapping[str, str]) -> dict[str, str]:
    """The environment of the process: the caller's, with the real address of the database."""
    kept = {name: value for name, value in caller.items() if name not in _HIDDEN}
    if settings.airflow_database_url is not None:
        kept[_HIDDEN[0]] = settings.airflow_database_url.get_secret_value()
    return kept


def clean_now(*, dry_run: bool) -> int:
    """`clean` with the settings and the environment of this process."""
    from datetime import UTC

    from tradu.settings import get_settings

    return clean(get_settings(), datetime.now(UTC), os.environ, dry_run=dry_run)
