"""The one file Airflow reads in plugins/: declares what the package tradu_airflow adds to it."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin
from tradu_airflow.links import DataDocsLink


def _apps() -> list[dict[str, object]]:
    """Web apps are for the API server; other components read this file too, and are spared FastAPI."""
    from tradu_airflow.gates_app import URL_PREFIX, app

    return [{"app": app, "url_prefix": URL_PREFIX, "name": "Tradu gates"}]


class TraduPlugin(AirflowPlugin):
    """Links and pages of Tradu."""

    name = "tradu"
    fastapi_apps = _apps()
    operator_extra_links = [DataDocsLink()]  # noqa: RUF012 - Airflow reads a list
