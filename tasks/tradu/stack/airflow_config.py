"""The one place that says how Airflow runs in the local stack: its airflow.cfg, accounts and environment."""

from __future__ import annotations

import base64
import configparser
import io
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from tradu.settings import Settings
from tradu.stack.host import Host
from tradu.stack.layout import Layout, dags_folder, plugins_folder
from tradu.stack.ports import LOOPBACK
from tradu.stack.private import secret, write_private

MARK = "TRADU_STACK"  # in the environment of every process of a stack; its value is the stack's identity
PRELOAD = "TRADU_PRELOAD"  # in the environment of the Airflow scheduler alone

# Numeric libraries start a thread per core in every process; our processes are the parallelism.
_THREADED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_ONE_THREAD = dict.fromkeys(_THREADED, "1")

LOCAL_SETTINGS = '''"""Made by `tradu up`: the scheduler imports early what its workers need, and takes them along."""

import os

if os.environ.get("TRADU_PRELOAD"):
    from tradu.stack.orphans import end_with_this_process as _end_with_this_process
    from tradu.stack.preload import preload as _preload

    _end_with_this_process()
    _preload()
'''


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def api_password(layout: Layout) -> str:
    """The password of the Airflow API's user: the one that is set, or the one made for this stack."""
    given = layout.settings.api_password
    return given.get_secret_value() if given else secret(layout.home, "api-password", lambda: secrets.token_urlsafe(12))


def options(layout: Layout, host: Host) -> dict[str, dict[str, str]]:
    """Airflow's configuration, section by section. Everything not named keeps Airflow's default.

    An `AIRFLOW__SECTION__NAME` variable in the environment of `tradu up` still wins, as everywhere in Airflow.
    """
    home, api = layout.home, layout.settings.api_url.rstrip("/")
    dsn = layout.airflow_dsn.split("://", 1)[1]
    return {
        "core": {
            "dags_folder": str(dags_folder()),
            "plugins_folder": str(plugins_folder()),
            "load_examples": "False",
            "executor": "LocalExecutor",
            "parallelism": str(parallelism(host, layout.settings.airflow_schedulers)),
            "dags_are_paused_at_creation": "False",
            "default_task_retry_delay": "10",
            "killed_task_cleanup_time": "10",
            "fernet_key": secret(home, "fernet-key", _fernet_key),
            "execution_api_server_url": f"{api}/execution/",
            "auth_manager": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
            "simple_auth_manager_users": f"{layout.settings.api_user}:admin",
            "simple_auth_manager_passwords_file": str(passwords_file(layout)),
            "min_serialized_dag_update_interval": "5",
        },
        "database": {"sql_alchemy_conn": f"postgresql+psycopg2://{dsn}", "load_default_connections": "False"},
        "api": {
            "host": LOOPBACK,
            "port": str(layout.api_port),
            "base_url": api,
            "secret_key": secret(home, "airflow-api-secret"),
            "workers": "1",
        },
        "api_auth": {"jwt_secret": secret(home, "airflow-jwt-secret", lambda: secrets.token_urlsafe(64))},
        "logging": {"base_log_folder": str(layout.airflow_home / "logs"), "colored_console_log": "False"},
        # The defaults find a dead task or scheduler after five minutes: on one machine a lost process is lost
        # at once, and 45 s leave room for a busy one.
        "scheduler": {
            "scheduler_health_check_threshold": "15",
            "task_instance_heartbeat_timeout": "45",
            "orphaned_tasks_check_interval": "10",
            "task_queued_timeout": "300",
        },
        "triggerer": {"triggerer_health_check_threshold": "15"},
        # an API server that is started again is asked again soon, and for over a minute
        "workers": {
            "execution_api_timeout": "30",
            "execution_api_retries": "10",
            "execution_api_retry_wait_max": "10",
        },
        "dag_processor": {"refresh_interval": "10", "parsing_processes": "1"},
        "usage_data_collection": {"enabled": "False"},
    }


def parallelism(host: Host, schedulers: int = 1) -> int:
    """Airflow tasks at once of one scheduler: they wait on Dask more than they compute, and each pre-forked slot costs
    memory.
    """
    return max(2, -(-min(2 * host.cores + 2, 32) // schedulers))


def passwords_file(layout: Layout) -> Path:
    """The file SimpleAuthManager reads passwords from."""
    return layout.home / "secrets" / "airflow-passwords.json"


def render(sections: Mapping[str, Mapping[str, str]]) -> str:
    """Text of an airflow.cfg."""
    parser = configparser.ConfigParser(interpolation=None)
    for section, values in sections.items():
        # Airflow's parser interpolates
        parser[section] = {name: value.replace("%", "%%") for name, value in values.items()}
    text = io.StringIO()
    text.write("# Made by `tradu up`; changes here are overwritten. Set AIRFLOW__SECTION__NAME variables instead.\n")
    parser.write(text)
    return text.getvalue()


def write(layout: Layout, host: Host) -> None:
    """Write AIRFLOW_HOME: configuration, passwords and local settings, readable by their owner alone."""
    write_private(layout.airflow_home / "airflow.cfg", render(options(layout, host)))
    passwords = {layout.settings.api_user: api_password(layout)}
    write_private(passwords_file(layout), json.dumps(passwords) + "\n")
    write_private(layout.airflow_home / "config" / "airflow_local_settings.py", LOCAL_SETTINGS)


def environment(layout: Layout, caller: Mapping[str, str]) -> dict[str, str]:
    """The environment of every service: the caller's, less what slows Python down, and the stack's own."""
    dropped = {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME", "AIRFLOW_CONFIG", PRELOAD}
    mine = {
        "AIRFLOW_HOME": str(layout.airflow_home),
        "GX_ANALYTICS_ENABLED": "False",
        "DO_NOT_TRACK": "1",
        "SCARF_ANALYTICS": "False",
        "SPT_NOENV": "1",  # setproctitle would overwrite the environment that /proc shows, and our mark with it
        "TRADU_HOME": str(layout.home),
        "PYTHONUNBUFFERED": "1",
        "XDG_CONFIG_HOME": str(layout.home / "config"),
        "XDG_DATA_HOME": str(layout.home / "share"),
        MARK: layout.identity,
    }
    kept = {name: value for name, value in caller.items() if name not in dropped}
    return kept | _ONE_THREAD | as_variables(layout.settings) | mine


def as_variables(settings: Settings) -> dict[str, str]:
    """The TRADU_ variables from which another process reads the same settings: those that were set at all."""
    variables = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if value is not None:
            variables[f"TRADU_{name.upper()}"] = json.dumps(value) if isinstance(value, tuple | dict) else str(value)
    return variables
