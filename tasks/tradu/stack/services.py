"""The services of the local stack as data, and the supervisor's configuration made from them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tradu.stack import postgres
from tradu.stack.airflow_config import PRELOAD
from tradu.stack.host import MIB, Host
from tradu.stack.layout import Layout
from tradu.stack.ports import LOOPBACK

POSTGRES = "postgres"
DASK_SCHEDULER = "dask-scheduler"
WORKER_PREFIX = "dask-worker-"
CONTROLLER, AGENT = "tradu-controller", "tradu-agent"
_QUIET_DASK = {
    # Dask looks into its own processes up to a hundred times a second: some percent of a core each, for figures that
    # nobody reads here. Batches last seconds.
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "2s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__GIL__ENABLED": "False",
}
SCHEDULER = "airflow-scheduler"
_DASK_TIMES = {
    # A worker that is frozen keeps its connection: the scheduler waits for what it runs until it has not been heard of
    # for this long, looked at as often. It hears of a well one twice a second; by default it would wait 5 to 10 min.
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "25s",
    # What a batch says of itself is fetched from its worker. Where that has just died, a refused connection is tried
    # again for so long (by default 30 s) before the batch is done once more, and its shard may wait for nothing else.
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
}
AIRFLOW_COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
LINE = "line"  # the supervisor's group of everything that needs PostgreSQL
_WORKERS_SHARE = 0.6  # of the host's memory; the rest is PostgreSQL's, Airflow's and the page cache's


@dataclass(frozen=True)
class Service:
    """One supervised process. `account` is the system user it runs as, None for our own."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    directory: Path | None = None
    account: str | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 10

    @property
    def is_line(self) -> bool:
        """Whether it belongs to the group that is started after, and stopped before, PostgreSQL."""
        return self.name != POSTGRES


def services(layout: Layout, host: Host) -> list[Service]:
    """Everything this machine runs, PostgreSQL first."""
    listed = [_postgres(layout, host)] if layout.postgres is not None else []
    if layout.runs_dask_scheduler:
        listed.append(_dask_scheduler(layout))
    listed += dask_workers(layout, host)
    if worker_count(layout, host):
        listed.append(_tradu(layout, CONTROLLER, "controller"))
    listed.append(_tradu(layout, AGENT, "agent"))  # it looks after Airflow's components as well
    listed += [_airflow(layout, component) for component in AIRFLOW_COMPONENTS]
    listed += [_airflow(layout, "scheduler", name) for name in airflow_schedulers(layout)[1:]]
    return listed


def airflow_schedulers(layout: Layout) -> list[str]:
    """Names of the Airflow schedulers' services: they share one database, and any of them can do all the work."""
    further = range(2, layout.settings.airflow_schedulers + 1)
    return [SCHEDULER, *(f"{SCHEDULER}-{number}" for number in further)]


def _postgres(layout: Layout, host: Host) -> Service:
    server = layout.postgres
    if server is None:
        raise ValueError("both databases are elsewhere")
    command = postgres.command(server, postgres.parameters(host.memory_bytes))
    return Service(POSTGRES, tuple(command), {}, server.root, server.owner, stop_signal="INT", stop_seconds=15)


def _tool(*words: str) -> tuple[str, ...]:
    """A console script of our own virtual environment, by module: its place does not depend on PATH."""
    return (sys.executable, "-m", *words)


def _airflow(layout: Layout, component: str, name: str | None = None) -> Service:
    # task and trigger logs lie on this machine: the API server reads the files, no log server is needed
    extra = ("--skip-serve-logs",) if component in ("scheduler", "triggerer") else ()
    environment = {PRELOAD: "1"} if component == "scheduler" else {}
    return Service(
        name or f"airflow-{component}", _tool("airflow", component, *extra), environment, layout.airflow_home
    )


def _tradu(layout: Layout, name: str, command: str) -> Service:
    return Service(name, _tool("tradu.cli.main", command), {}, layout.run)


def _dask_scheduler(layout: Layout) -> Service:
    command = _tool("dask", "scheduler", "--host", LOOPBACK, "--port", str(layout.dask_port),
                    "--dashboard-address", f"{LOOPBACK}:{layout.settings.dask_dashboard_port}",
                    "--preload", "tradu.cluster.preload")  # fmt: skip
    return Service(DASK_SCHEDULER, command, _QUIET_DASK | _DASK_TIMES, layout.run)


def worker_count(layout: Layout, host: Host) -> int:
    """Workers of this machine: as set; else one per GPU, or per core.

    None join a scheduler on another host unless TRADU_WORKERS asks for them: that cluster has its own.
    """
    if layout.settings.workers is not None:
        return layout.settings.workers
    return (host.gpus or host.cores) if layout.runs_dask_scheduler else 0


def worker_memory_bytes(host: Host, count: int) -> int:
    """Memory limit of each of so many workers of this machine."""
    return max(512 * MIB, int(host.memory_bytes * _WORKERS_SHARE / count))


def pool_of(host: Host) -> str:
    """The pool that a machine's workers belong to."""
    return "gpu" if host.gpus else "cpu"


def worker_name(layout: Layout, index: str) -> str:
    """The name of a scaled worker of this machine at the Dask scheduler."""
    return f"{layout.identity[:4]}-{index}"


def dask_workers(layout: Layout, host: Host) -> list[Service]:
    """The workers, each a program of its own, so that one that is killed comes back alone."""
    pools = ["default"] * worker_count(layout, host)
    pools += [pool for pool, number in layout.settings.pool_workers.items() for _ in range(number)]
    return [_dask_worker(layout, host, index, len(pools), pool) for index, pool in enumerate(pools)]


def _dask_worker(layout: Layout, host: Host, index: int, count: int, pool: str) -> Service:
    # those of other pools begin otherwise: the controller counts a pool's workers by the beginnings of their names
    name = worker_name(layout, str(index)) if pool == "default" else f"{layout.identity[:4]}.{pool}-{index}"
    memory_bytes = worker_memory_bytes(host, count)
    kind = ("cuda", "worker") if host.gpus else ("worker",)
    # dask cuda worker has a nanny of its own and no flag against it
    single = () if host.gpus else ("--no-nanny", "--no-dashboard")
    # the dashboard's address is that of health and metrics too, which --no-dashboard leaves on
    listen = ("--host", LOOPBACK, "--dashboard-address", f"{LOOPBACK}:0") if layout.runs_dask_scheduler else ()
    command = _tool("dask", *kind, layout.settings.dask_scheduler, "--nthreads", "1", *single, *listen,
                    "--preload", "tradu.cluster.preload",
                    "--name", name, "--memory-limit", str(memory_bytes),
                    "--local-directory", str(layout.home / "dask"))  # fmt: skip
    # no MALLOC_TRIM_THRESHOLD_ (Dask sets one): engines take and give back megabytes a sentence, and each return to the
    # kernel costs page faults: a fifth of the worker's time
    environment = {"MALLOC_ARENA_MAX": "2", **_QUIET_DASK}
    if pool != "default":
        environment["TRADU_POOL"] = pool
    if host.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = str(index % host.gpus)
    return Service(f"{WORKER_PREFIX}{index}", command, environment, layout.run)


def _quoted(word: str) -> str:
    """A word of a command line as supervisord reads it: it expands %, and splits like a shell."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if not word or any(c in word for c in " \"'\\;") else escaped


def _program(service: Service, logs: Path) -> str:
    group_stop = "false" if service.name == POSTGRES else "true"  # its own main process stops the others
    lines = {
        "command": " ".join(map(_quoted, service.command)),
        "directory": str(service.directory).replace("%", "%%") if service.directory else "",
        "user": service.account or "",
        "environment": ",".join(f'{name}="{value}"' for name, value in service.environment.items()),
        "priority": "1" if service.name == POSTGRES else "10",
        # PostgreSQL at once; the rest when the databases are made
        "autostart": "false" if service.is_line else "true",
        "autorestart": "true",
        "startsecs": "1",
        # never given up: what it fails of may be mended, such as a disk that is full. It waits a second more each time
        "startretries": "1000000",
        "stopsignal": service.stop_signal,
        "stopwaitsecs": str(service.stop_seconds),
        "stopasgroup": group_stop,
        "killasgroup": "true",
        "redirect_stderr": "true",
        # supervisord expands this one twice
        "stdout_logfile": str(logs / f"{service.name}.log").replace("%", "%%%%"),
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": "3",
    }
    body = "\n".join(f"{name}={value}" for name, value in lines.items() if value)
    return f"[program:{service.name}]\n{body}\n"


def supervisor_config(layout: Layout, listed: Sequence[Service]) -> str:
    """The configuration file of supervisord for these services. It holds no secrets."""
    paths = (layout.run, layout.logs, layout.socket, layout.supervisor_pid)
    run, logs, socket, pid_file = (str(path).replace("%", "%%") for path in paths)
    head = (
        f"[supervisord]\nlogfile={logs}/supervisord.log\nlogfile_maxbytes=5MB\nlogfile_backups=2\n"
        f"pidfile={pid_file}\nchildlogdir={logs}\nnodaemon=false\nsilent=true\ndirectory={run}\n"
        f"identifier=tradu-{layout.identity}\n\n"
        f"[unix_http_server]\nfile={socket}\nchmod=0700\n\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
    )
    names = ",".join(service.name for service in listed if service.is_line)
    group = f"[group:{LINE}]\nprograms={names}\npriority=10\n"
    return "\n".join([head, *(_program(service, layout.logs) for service in listed), group])
