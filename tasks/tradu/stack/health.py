"""Asking the running stack how it is: the Airflow API, the Dask scheduler and both databases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import httpx
import psycopg

from tradu.cluster.scaling import scheduler
from tradu.errors import SystemicError
from tradu.stack.layout import Layout

# name of a component in Airflow's health report -> our service
_COMPONENTS = {
    "scheduler": "airflow-scheduler",
    "triggerer": "airflow-triggerer",
    "dag_processor": "airflow-dag-processor",
}


FRESH_SECONDS = 30
"""A component that was not heard of for so long is not healthy, as Airflow sees it by default."""
_LIVING_SCHEDULERS = """
SELECT extract(epoch FROM start_date) FROM job
WHERE job_type = 'SchedulerJob' AND state = 'running' AND latest_heartbeat > now() - make_interval(secs => %s)
"""


def airflow_health(layout: Layout, started: Mapping[str, float]) -> dict[str, bool]:
    """Health of Airflow's components by service name; empty while the API does not answer.

    Airflow calls a component healthy for 30 s after its last heartbeat, dead or alive, so a heartbeat counts only
    when it is younger than the process: `started` holds the Unix times, by service name.
    """
    try:
        reply = httpx.get(f"{layout.settings.api_url.rstrip('/')}/api/v2/monitor/health", timeout=5, trust_env=False)
        reply.raise_for_status()
        report: dict[str, Any] = reply.json()
    except (httpx.HTTPError, json.JSONDecodeError):
        return {}
    found = {"airflow-api-server": (report.get("metadatabase") or {}).get("status") == "healthy"}
    for name, ours in _COMPONENTS.items():
        part = report.get(name) or {}
        beat = part.get(f"latest_{name}_heartbeat")
        fresh = beat is not None and datetime.fromisoformat(beat).timestamp() >= started.get(ours, 0.0)
        found[ours] = part.get("status") == "healthy" and fresh
    return found


def scheduler_health(layout: Layout, started: Mapping[str, float]) -> dict[str, bool]:
    """Health of schedulers that run side by side, by service name; empty while the database does not answer.

    The API tells only of the one that was heard of last, and nothing says which process an entry is of. But it is
    younger than its process: so each process, the newest first, takes one that is fresh and young enough.
    """
    try:
        with psycopg.connect(layout.airflow_dsn, connect_timeout=5) as connection:
            rows = connection.execute(_LIVING_SCHEDULERS, (FRESH_SECONDS,)).fetchall()
    except psycopg.Error:
        return {}
    entries = [float(moment) for (moment,) in rows]
    found = {}
    for name in sorted(started, key=lambda name: started[name], reverse=True):
        own = max(entries, default=0.0)
        found[name] = bool(entries) and own >= started[name]
        if found[name]:
            entries.remove(own)
    return found


def warm_execution_api(layout: Layout) -> None:
    """Ask the API that tasks talk to once: it is built on its first request, 4 s that the first task would wait."""
    with suppress(httpx.HTTPError):  # it is a kindness, not a condition: the components' health decides
        url = f"{layout.settings.api_url.rstrip('/')}/execution/health/ping"
        httpx.get(url, timeout=60, trust_env=False)


def sign_in(layout: Layout, password: str) -> str | None:
    """Why signing in to the API fails, None when it works."""
    body = {"username": layout.settings.api_user, "password": password}
    try:
        reply = httpx.post(f"{layout.settings.api_url.rstrip('/')}/auth/token", json=body, timeout=10, trust_env=False)
    except httpx.HTTPError as error:
        return str(error)
    return None if reply.is_success else f"HTTP {reply.status_code}: {reply.text[:200]}"


def dask_worker_names(address: str) -> list[str] | None:
    """Names of the workers at a Dask scheduler; None when it does not answer in 5 s."""
    with suppress(SystemicError):
        return [str(worker["name"]) for worker in scheduler.workers(address, seconds=5).values()]
    return None


def dashboard_workers(layout: Layout) -> int | None:
    """Number of workers as the scheduler's metrics page says; None when it does not answer.

    Costs a few milliseconds where a client costs a second, so this is what waiting asks.
    """
    url = f"http://127.0.0.1:{layout.settings.dask_dashboard_port}/metrics"
    try:
        text = httpx.get(url, timeout=5, trust_env=False, follow_redirects=True).text
    except httpx.HTTPError:
        return None
    counts = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith("dask_scheduler_workers{")]
    return int(sum(counts)) if counts else None


def database_error(dsn: str) -> str | None:
    """Why a database can't be reached, None when it answers."""
    try:
        with psycopg.connect(dsn, connect_timeout=5) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        return str(error).strip()
    return None
