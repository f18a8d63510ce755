"""The one file Airflow reads in plugins/: declares what the package tradu_airflow adds to it."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from tradu_airflow import listener
from tradu_airflow.links import DataDocsLink


async def gates(scope: Any, receive: Any, send: Any) -> None:
    """The pages of the gates, imported with their first request: every Airflow process reads this file at its start."""
    from tradu_airflow.gates_app import app

    await app(scope, receive, send)


class TraduPlugin(AirflowPlugin):
    """Links, pages and the listener of Tradu."""

    name = "tradu"
    fastapi_apps = [{"app": gates, "url_prefix": "/tradu/gates", "name": "Tradu gates"}]  # noqa: RUF012 - Airflow's type
    operator_extra_links = [DataDocsLink()]  # noqa: RUF012
    listeners = [listener]  # noqa: RUF012
