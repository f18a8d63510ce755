"""Bringing the local stack up and down: the order of the steps, and how long each took."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from tradu.errors import SystemicError
from tradu.settings import Settings
from tradu.stack import airflow_config, databases, health, ports, postgres, processes
from tradu.stack.host import Host, this_host
from tradu.stack.layout import Layout
from tradu.stack.private import write_private
from tradu.stack.services import (
    AGENT,
    AIRFLOW_COMPONENTS,
    CONTROLLER,
    LINE,
    POSTGRES,
    WORKER_PREFIX,
    Service,
    airflow_schedulers,
    services,
    supervisor_config,
)
from tradu.stack.supervise import RUNNING, ProcessState, Supervisor
from tradu.store import Store

Progress = Callable[[str], None]
STOP_SECONDS = 30
HEALTHY_SECONDS = 240


@dataclass(frozen=True)
class ServiceStatus:
    """How one service is. `memory_bytes` is proportional and includes its children; `healthy` None: not asked."""

    name: str
    state: str
    pid: int | None
    uptime_seconds: float
    memory_bytes: int
    healthy: bool | None
    rests: bool = False
    """It was stopped on purpose: a worker that is not wanted now."""

    @property
    def is_ill(self) -> bool:
        """Whether something is wrong with it."""
        return (self.state != RUNNING and not self.rests) or self.healthy is False


class _Clock:
    """Seconds per step, and the step that runs now told to whoever watches."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._begun = progress, time.monotonic()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._progress(name)
        begun = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - begun, 2)

    def since_start(self) -> float:
        return round(time.monotonic() - self._begun, 2)


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """One `up` or `down` of a stack at a time."""
    layout.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (layout.run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up(settings: Settings, progress: Progress = lambda _: None) -> dict[str, float]:
    """Start what does not run, and wait until all of it is healthy; seconds per step.

    Harmless on a stack that runs, and the way to mend one of which something was killed.

    Raises:
        SystemicError: a port is taken, or a service did not become healthy; the message says what to do.
    """
    layout, host = Layout(settings), this_host()
    clock = _Clock(progress)
    with _alone(layout):
        with clock.step("prepare"):
            listed, environment = _prepare(layout, host)
        supervisor = Supervisor(layout)
        resting = {state.name for state in supervisor.states() if state.rests}  # workers that the agent has stopped
        with clock.step("postgres"):
            _start_supervisor(layout, supervisor, listed, environment, progress)
            _start_postgres(layout, supervisor)
        line = [service for service in listed if service.is_line and service.name not in resting]
        _start(supervisor, [service for service in line if service.name.startswith("dask")])
        with clock.step("databases"):
            _migrate(layout, environment)
        with clock.step("services"):
            # who scales the workers comes last: nothing waits for it, and it would take time from what is waited for
            _start(supervisor, [service for service in line if service.name not in (CONTROLLER, AGENT)])
            clock.seconds |= _wait_healthy(layout, supervisor, progress)
            _start(supervisor, [service for service in line if service.name in (CONTROLLER, AGENT)])
    clock.seconds["total"] = clock.since_start()
    return clock.seconds


def _prepare(layout: Layout, host: Host) -> tuple[list[Service], dict[str, str]]:
    for folder in (layout.home, layout.logs, layout.airflow_home, layout.home / "dask"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    Store(layout.settings.store).create()
    airflow_config.write(layout, host)
    listed = services(layout, host)
    return listed, airflow_config.environment(layout, os.environ)


def _start_supervisor(
    layout: Layout,
    supervisor: Supervisor,
    listed: list[Service],
    environment: dict[str, str],
    progress: Progress,
) -> None:
    """Start the supervisor, or find it; either way no process of a dead one is left afterwards."""
    config, digest_file = supervisor_config(layout, listed), layout.run / "settings.sha256"
    digest = _digest(config, environment)
    pid = supervisor.pid()
    if pid is not None:
        if digest_file.is_file() and digest_file.read_text() != digest:
            progress("settings have changed since the stack was started: `tradu down` and `tradu up` apply them")
        supervised = [process.pid for process in processes.tree(pid)]
        processes.sweep(layout.identity, None, keep=supervised)  # orphans of a component that was killed
        return
    processes.sweep(layout.identity, _postmaster(layout))
    _check_ports(layout)
    if layout.postgres is not None:
        postgres.prepare(layout.postgres)
    write_private(layout.run / "supervisord.conf", config)
    write_private(digest_file, digest)
    supervisor.start(layout.run / "supervisord.conf", environment)


def _digest(config: str, environment: dict[str, str]) -> str:
    """A fingerprint of what the services were started with."""
    relevant = sorted(item for item in environment.items() if item[0].startswith(("TRADU_", "AIRFLOW_", "AWS_")))
    return hashlib.sha256(repr((config, relevant)).encode()).hexdigest()


def _postmaster(layout: Layout) -> int | None:
    server = layout.postgres
    return postgres.postmaster_pid(server) if server is not None and postgres.is_running(server) else None


def _check_ports(layout: Layout) -> None:
    for service, (port, remedy) in layout.ports().items():
        if not ports.is_free(port):
            raise SystemicError(
                f"port {port}, wanted by {service}, is taken by {ports.holder(port)}: stop that, or set {remedy}"
            )


def _start_postgres(layout: Layout, supervisor: Supervisor) -> None:
    server = layout.postgres
    if server is None:
        return
    supervisor.start_service(POSTGRES, POSTGRES)
    postgres.wait_ready(server.admin_dsn, 60)
    postgres.provision(server)
    if layout.settings.ledger_url is None:
        write_private(layout.home / "ledger.url", server.dsn("tradu") + "\n")
        write_private(layout.home / "archive.url", server.dsn("tradu", postgres.ARCHIVE_ROLE) + "\n")


def _migrate(layout: Layout, environment: dict[str, str]) -> None:
    with ThreadPoolExecutor(2) as pool:
        airflow = pool.submit(databases.migrate_airflow, layout, environment)
        ledger = pool.submit(databases.migrate_ledger, layout)
    airflow.result()
    ledger.result()


def _start(supervisor: Supervisor, listed: list[Service]) -> None:
    for service in listed:
        supervisor.start_service(LINE, service.name)


def _healths(layout: Layout, states: list[ProcessState]) -> dict[str, bool]:
    """Health of everything that can be asked, by service name; what does not run is not healthy."""
    running = {state.name: time.time() - state.uptime_seconds for state in states if state.state == RUNNING}
    found = dict.fromkeys((f"airflow-{component}" for component in AIRFLOW_COMPONENTS), False)
    found |= {n: well and n in running for n, well in health.airflow_health(layout, running).items()}
    schedulers = airflow_schedulers(layout)
    if len(schedulers) > 1:
        begun = {name: running[name] for name in schedulers if name in running}
        found |= dict.fromkeys(schedulers, False) | health.scheduler_health(layout, begun)
    if layout.runs_dask_scheduler:
        workers = health.dashboard_workers(layout)
        found["dask-scheduler"] = workers is not None
        wanted = sum(state.is_up for state in states if state.name.startswith(WORKER_PREFIX))
        found["dask-workers"] = (workers or 0) >= wanted
    return found


def _wait_healthy(layout: Layout, supervisor: Supervisor, progress: Progress) -> dict[str, float]:
    """Wait for every service; the seconds at which each became healthy."""
    begun = time.monotonic()
    reached: dict[str, float] = {}
    while True:
        found = _healths(layout, supervisor.states())
        for name in sorted(name for name, well in found.items() if well and name not in reached):
            if name == "airflow-api-server":
                health.warm_execution_api(layout)
            reached[name] = round(time.monotonic() - begun, 2)
            progress(f"{name} is healthy")
        if all(found.values()):
            return reached
        if time.monotonic() - begun > HEALTHY_SECONDS:
            ill = ", ".join(name for name, well in found.items() if not well)
            raise SystemicError(f"not healthy after {HEALTHY_SECONDS} s: {ill}; read the logs in {layout.logs}")
        time.sleep(0.25)


def down(settings: Settings) -> int:
    """Stop everything of the stack; how many processes were left over and had to be stopped one by one.

    Works without a supervisor too, when that was killed.
    """
    layout = Layout(settings)
    if not layout.home.is_dir():
        return 0
    with _alone(layout):
        Supervisor(layout).shutdown(STOP_SECONDS)
        return processes.sweep(layout.identity, _postmaster(layout))


def status(settings: Settings) -> list[ServiceStatus]:
    """Every service of the stack; empty when it is down."""
    layout = Layout(settings)
    states = Supervisor(layout).states()
    if not states:
        return []
    found = _healths(layout, states)
    server = layout.postgres
    if server is not None:
        found[POSTGRES] = health.database_error(server.admin_dsn) is None
    return [_service_status(state, found.get(state.name)) for state in states]


def _service_status(state: ProcessState, healthy: bool | None) -> ServiceStatus:
    memory = processes.pss_bytes(state.pid) if state.pid else 0
    return ServiceStatus(state.name, state.state, state.pid, state.uptime_seconds, memory, healthy, state.rests)
