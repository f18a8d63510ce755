"""Where the parts of one local stack lie: its folders, files, addresses and what this machine runs of it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import tradu
from tradu.errors import SystemicError
from tradu.settings import Settings
from tradu.stack.postgres import PostgresServer, server_for

AIRFLOW_URL_VARIABLE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_LONGEST_SOCKET_PATH = 90  # the kernel allows 107 bytes, and supervisord binds a longer temporary name first


@dataclass(frozen=True)
class Layout:
    """Paths and addresses of the stack that `settings` describes."""

    settings: Settings

    @property
    def home(self) -> Path:
        """Folder of everything the stack makes."""
        return self.settings.home.absolute()

    @cached_property
    def identity(self) -> str:
        """What marks the processes of this stack, so that two stacks of one machine never meet."""
        return hashlib.sha256(str(self.home.resolve()).encode()).hexdigest()[:12]

    @property
    def run(self) -> Path:
        """Folder of pid files, locks and the supervisor's configuration."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        """Folder of the services' logs."""
        return self.home / "logs"

    @property
    def airflow_home(self) -> Path:
        """AIRFLOW_HOME of the stack."""
        return self.home / "airflow"

    @property
    def supervisor_pid(self) -> Path:
        """The supervisor's pid file."""
        return self.run / "supervisord.pid"

    @cached_property
    def socket(self) -> Path:
        """The supervisor's control socket; in a private folder under /tmp where the home's path is too long."""
        path = self.run / "supervisor.sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return path
        return Path(tempfile.gettempdir()) / f"tradu-{os.geteuid()}-{self.identity}" / "supervisor.sock"

    @cached_property
    def postgres(self) -> PostgresServer | None:
        """The embedded server, or None when both databases are somewhere else."""
        if self.settings.ledger_url is not None and AIRFLOW_URL_VARIABLE in os.environ:
            return None
        return server_for(self.home, self.settings.postgres_port)

    @property
    def airflow_dsn(self) -> str:
        """Connection URL of Airflow's metadata database, without a driver."""
        given = os.environ.get(AIRFLOW_URL_VARIABLE)
        if given:
            return given.replace("+psycopg2", "").replace("+psycopg", "").replace("+asyncpg", "")
        if self.postgres is None:  # cannot be: it is None only when the variable is set
            raise SystemicError(f"set {AIRFLOW_URL_VARIABLE}")
        return self.postgres.dsn("airflow")

    @property
    def api_port(self) -> int:
        """Port of the Airflow API server that this machine runs."""
        return urlsplit(self.settings.api_url).port or 8080

    @property
    def dask_port(self) -> int:
        """Port of the Dask scheduler."""
        return urlsplit(self.settings.dask_scheduler).port or 8786

    @property
    def runs_dask_scheduler(self) -> bool:
        """A scheduler on a loopback address is ours to run; one on another host is somebody else's."""
        return urlsplit(self.settings.dask_scheduler).hostname in _LOCAL_NAMES

    def ports(self) -> dict[str, tuple[int, str]]:
        """The ports this stack listens on: service -> (port, the setting that changes it)."""
        wanted = {"airflow-api-server": (self.api_port, f"TRADU_API_URL=http://127.0.0.1:{self.api_port + 1000}")}
        if self.postgres is not None:
            wanted["postgres"] = (self.postgres.port, f"TRADU_POSTGRES_PORT={self.postgres.port + 1000}")
        if self.runs_dask_scheduler:
            dashboard = self.settings.dask_dashboard_port
            wanted["dask-scheduler"] = (
                self.dask_port,
                f"TRADU_DASK_SCHEDULER=tcp://127.0.0.1:{self.dask_port + 1000}",
            )
            wanted["dask-dashboard"] = (dashboard, f"TRADU_DASK_DASHBOARD_PORT={dashboard + 1000}")
        return wanted


def _shipped(folder: str) -> Path:
    """A folder of the checkout, or the copy of it that a wheel carries."""
    package = Path(tradu.__file__).resolve().parent
    packaged = package / f"_{folder}"
    return packaged if packaged.is_dir() else package.parents[1] / folder


def dags_folder() -> Path:
    """The folder of Tradu's DAG files."""
    return _shipped("dags")


def plugins_folder() -> Path:
    """The folder of the file that declares Tradu's Airflow plugin."""
    return _shipped("plugins")
