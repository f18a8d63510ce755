"""What is missing, wrong or in the way on this machine, and what to do about each."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tradu.errors import RequestError, TraduError
from tradu.settings import Settings
from tradu.stack import airflow_config, health, ports, postgres
from tradu.stack.airflow_config import api_password
from tradu.stack.databases import airflow_is_current
from tradu.stack.host import GIB, MIB, Host, this_host
from tradu.stack.layout import Layout
from tradu.stack.services import dask_workers, worker_count, worker_memory_bytes
from tradu.stack.supervise import Supervisor

_PYTHONS = ((3, 11), (3, 13))
_DISK_BYTES = (1 * GIB, 5 * GIB)
_MEMORY_BYTES = (2 * GIB, 4 * GIB)


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `remedy` is a command or an action, empty when all is well."""

    name: str
    level: Level
    message: str
    remedy: str = ""


def doctor(settings: Settings) -> list[Finding]:
    """Look at everything the line needs, without changing any of it."""
    layout = Layout(settings)
    running = Supervisor(layout).pid() is not None
    findings: list[Finding] = []
    for check in _CHECKS:
        findings += _safely(check, layout, running)
    return findings


def _safely(check: Callable[[Layout, bool], Iterator[Finding]], layout: Layout, running: bool) -> list[Finding]:
    """A check that fails itself is a finding, not the end of the examination."""
    try:
        return list(check(layout, running))
    except Exception as error:
        name = check.__name__.strip("_").replace("_", " ")
        return [Finding(name, Level.ERROR, f"could not be looked at: {error}", "see the message")]


def _graded(name: str, value: int, limits: tuple[int, int], message: str, remedy: str) -> Finding:
    """A finding about an amount: an error below the first limit, a warning below the second."""
    level = Level.ERROR if value < limits[0] else Level.WARN if value < limits[1] else Level.OK
    return Finding(name, level, message, remedy if level is not Level.OK else "")


def _python(_layout: Layout, _running: bool) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        yield Finding("python", Level.OK, version)
    else:
        yield Finding("python", Level.ERROR, f"{version}; Tradu runs on 3.11 to 3.13", "apt-get install python3.11")


def _disk(layout: Layout, _running: bool) -> Iterator[Finding]:
    folders = [layout.home] + ([layout.postgres.root] if layout.postgres is not None else [])
    for folder in folders:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(there).free
        message = f"{free / GIB:.1f} GiB free at {folder}"
        yield _graded("disk", free, _DISK_BYTES, message, "free some space, or set TRADU_HOME to a larger disk")


def _memory(_layout: Layout, _running: bool) -> Iterator[Finding]:
    host = this_host()
    message = f"{host.memory_bytes / GIB:.1f} GiB, {host.cores} cores"
    remedy = "the stack needs 2 GiB and works well with 4 GiB: raise the limit, or set TRADU_WORKERS=1"
    yield _graded("memory", host.memory_bytes, _MEMORY_BYTES, message, remedy)


def _sizes(layout: Layout, _running: bool) -> Iterator[Finding]:
    """What `tradu up` makes of the machine."""
    host = this_host()
    yield Finding("sizes", Level.OK, sizes(layout, host))


def sizes(layout: Layout, host: Host) -> str:
    """How the stack would fill a machine: workers, PostgreSQL, tasks of Airflow."""
    from tradu.cluster.workers import budget_mb

    parts = []
    if count := len(dask_workers(layout, host)):
        memory = worker_memory_bytes(host, count)
        models = budget_mb(layout.settings, memory)["cpu"]
        parts.append(
            f"workers: {count}, each of one thread and {memory / MIB:.0f} MiB, {models:.0f} MB of it for models"
        )
    if layout.postgres is not None:
        buffers = postgres.parameters(host.memory_bytes)["shared_buffers"].removesuffix("MB")
        parts.append(f"PostgreSQL with {buffers} MiB of shared buffers")
    slots = airflow_config.parallelism(host, layout.settings.airflow_schedulers)
    parts.append(f"{slots} Airflow tasks at once a scheduler")
    return "; ".join(parts)


def _gpu(_layout: Layout, _running: bool) -> Iterator[Finding]:
    gpus = this_host().gpus
    yield Finding("gpu", Level.OK, f"{gpus} seen by NVML" if gpus else "none seen: CPU workers are used")


def _neural_kernel(_layout: Layout, _running: bool) -> Iterator[Finding]:
    from tradu.inference.marian import build, kernel

    if build.built() is None:
        message = "not compiled: Firefox's models run one sentence at a time"
        yield Finding("neural kernel", Level.WARN, message, "tradu setup")
    else:
        yield Finding("neural kernel", Level.OK, f"uses {kernel.kernel().path}")


def _packages(_layout: Layout, _running: bool) -> Iterator[Finding]:
    lock = Path(__file__).resolve().parents[3] / "requirements.lock"
    if not lock.is_file():
        return
    wrong = lock_differences(lock.read_text())
    if wrong:
        yield Finding("packages", Level.ERROR, f"differ from requirements.lock: {', '.join(wrong[:5])}", "make setup")
    else:
        yield Finding("packages", Level.OK, "as in requirements.lock")


def lock_differences(lock: str) -> list[str]:
    """Requirements of a lock file's text that are not installed in exactly that version."""
    installed = {canonicalize_name(d.metadata["Name"]): d.version for d in importlib.metadata.distributions()}
    wrong = []
    for line in re.findall(r"^[A-Za-z0-9][^#\\\n]*", lock, flags=re.MULTILINE):
        requirement = Requirement(line.strip())
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        version = installed.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} ({version or 'missing'})")
    return wrong


def _ports(layout: Layout, running: bool) -> Iterator[Finding]:
    for service, (port, remedy) in layout.ports().items():
        if running:
            yield Finding("port", Level.OK, f"{port} is used by our {service}")
        elif ports.is_free(port):
            yield Finding("port", Level.OK, f"{port} is free for {service}")
        else:
            message = f"{port}, wanted by {service}, is taken by {ports.holder(port)}"
            yield Finding("port", Level.ERROR, message, f"stop that, or set {remedy}")


def _models(layout: Layout, _running: bool) -> Iterator[Finding]:
    from tradu.inference.registry import load_registry

    registry = load_registry(layout.settings)
    statuses = {model.name: registry.status(model) for model in registry.models()}
    missing = {name: status.how_to_add for name, status in statuses.items() if not status.installed}
    there = len(statuses) - len(missing)
    yield Finding("models", Level.OK if there else Level.ERROR, f"{there} installed", "" if there else "tradu setup")
    for remedy in dict.fromkeys(missing.values()):
        names = ", ".join(name for name, how in missing.items() if how == remedy)
        yield Finding("models", Level.WARN, f"not installed: {names}", remedy)


def _policies(layout: Layout, _running: bool) -> Iterator[Finding]:
    """The files that processes read again while they run. Those that run go on with what they read before."""
    from tradu import admission
    from tradu.archival import policy as retention
    from tradu.cluster.scaling import policy as scaling

    loads = (admission.load_policy, scaling.load_policies, retention.load_policy)
    wrong = []
    for load in loads:
        try:
            load(layout.settings)
        except RequestError as error:
            wrong.append(str(error))
    for message in wrong:
        remedy = "mend that file; until then what runs goes on with what it read before, and nothing new starts"
        yield Finding("policies", Level.ERROR, message, remedy)
    doubts = [] if wrong else admission.doubts(admission.load_policy(layout.settings), layout.settings)
    for message in doubts:
        yield Finding("policies", Level.WARN, f"admission.yaml: {message}", "change that file")
    if not wrong and not doubts:
        yield Finding("policies", Level.OK, "admission, scaling and retention can be used")


def _databases(layout: Layout, running: bool) -> Iterator[Finding]:
    if not running and layout.settings.ledger_url is None:
        yield Finding("ledger", Level.WARN, "the local stack is down", "tradu up")
        return
    error = health.database_error(layout.settings.ledger_dsn)
    if error:
        yield Finding("ledger", Level.ERROR, error, "tradu up, or correct TRADU_LEDGER_URL")
    else:
        yield _ledger_schema(layout)
        yield _ledger_health(layout)
    if running:
        current = airflow_is_current(layout)
        good = Finding("airflow database", Level.OK, "up to date")
        yield good if current else Finding("airflow database", Level.ERROR, "not migrated", "tradu up")


def _ledger_schema(layout: Layout) -> Finding:
    from tradu.ledger.migrate import is_current

    if is_current(layout.settings.ledger_dsn):
        return Finding("ledger", Level.OK, "reachable, schema up to date")
    return Finding("ledger", Level.ERROR, "reachable, but its schema is not the newest", "tradu up")


def _ledger_health(layout: Layout) -> Finding:
    from tradu.ledger.connection import Ledger, instance_id
    from tradu.watchdog import database

    ledger = Ledger(layout.settings.ledger_dsn, instance_id("doctor"))
    try:
        with ledger.transaction() as tx:
            health = database.observe(tx)
    finally:
        ledger.close()
    wrong = [said for _, said in database.judge(health)]
    seconds = health.oldest.seconds if health.oldest else 0
    dead = health.worst.all_dead if health.worst else 0
    message = "; ".join(wrong) or f"oldest transaction {seconds:.0f} s, {dead:,} dead rows"
    return Finding("ledger upkeep", Level.WARN if wrong else Level.OK, message, "see the message" if wrong else "")


def _store(layout: Layout, running: bool) -> Iterator[Finding]:
    from tradu.store import Store

    uri, key = layout.settings.store, f"doctor/{uuid.uuid4().hex}"
    try:
        store = Store(uri)
        if not running:
            store.create()  # as `tradu up` will
        store.put(key, b"x")
        store.remove(key)
    except (OSError, TraduError) as error:
        yield Finding("store", Level.ERROR, f"{uri} can't be written: {error}", "correct TRADU_STORE_URL or its rights")
    else:
        yield Finding("store", Level.OK, f"{uri} can be written")


def _api(layout: Layout, running: bool) -> Iterator[Finding]:
    url = layout.settings.api_url
    if not running:
        yield Finding("airflow api", Level.WARN, "the local stack is down", "tradu up")
        return
    error = health.sign_in(layout, api_password(layout))
    if error:
        yield Finding("airflow api", Level.ERROR, f"{url}: {error}", f"read {layout.logs}/airflow-api-server.log")
    else:
        yield Finding("airflow api", Level.OK, f"{url} answers, signing in works")


def _dask(layout: Layout, running: bool) -> Iterator[Finding]:
    address = layout.settings.dask_scheduler
    if not running and layout.runs_dask_scheduler:
        yield Finding("dask", Level.WARN, "the local stack is down", "tradu up")
        return
    names = health.dask_worker_names(address)
    if names is None:
        remedy = "tradu up, or correct TRADU_DASK_SCHEDULER"
        yield Finding("dask", Level.ERROR, f"no scheduler answers at {address}", remedy)
        return
    resting = sum(state.rests for state in Supervisor(layout).states())
    wanted = max(1, worker_count(layout, this_host()) - resting)
    level = Level.OK if len(names) >= wanted else Level.ERROR if not names else Level.WARN
    remedy = "" if level is Level.OK else f"read {layout.logs}/dask-worker-*.log"
    yield Finding("dask", level, f"{len(names)} of {wanted} workers at {address}", remedy)


def _shared_memory(_layout: Layout, _running: bool) -> Iterator[Finding]:
    folder = Path("/dev/shm")  # noqa: S108 - asked about, nothing is written there
    if not folder.is_dir() or shutil.disk_usage(folder).total < 64 * MIB:
        yield Finding("shared memory", Level.WARN, f"{folder} is small or missing", "docker run --shm-size=256m")


_CHECKS = (
    _python,
    _disk,
    _memory,
    _sizes,
    _shared_memory,
    _gpu,
    _neural_kernel,
    _packages,
    _ports,
    _models,
    _policies,
    _databases,
    _store,
    _api,
    _dask,
)
