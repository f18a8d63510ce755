"""Connections to the ledger: a small pool per process, and transactions that know who acts for which request."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import fields
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
from psycopg.rows import BaseRowFactory, RowMaker
from psycopg_pool import ConnectionPool, PoolTimeout

from tradu.errors import SystemicError
from tradu.ledger.sql import QUERIES
from tradu.settings import get_settings

Row = TypeVar("Row")
POOL_SIZE = 4
WAIT_SECONDS = 30.0
IDLE_SECONDS = 120
"""A transaction in which nothing is asked for so long is ended by the server: its process is frozen, or its machine is
gone, and others wait for its rows."""
PIPELINE_SECONDS = 30
"""So long a pipeline may take, whose server never sees it idle: it waits for the rest of what is sent together."""
_PIPELINE_LIMIT_FROM = 170_000
"""PostgreSQL has `transaction_timeout` from this version on."""
TCP = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
}
"""A server that is gone without a word is noticed in half a minute; by the system's own settings it takes 2 h."""
ILLEGAL_TRANSITION = "TR001"
"""SQLSTATE with which the database refuses a change of state."""
_SET_ACTOR = "SELECT set_config('tradu.actor', %s, true), set_config('tradu.request_id', %s, true)"
_PLAN_ONCE = ", set_config('plan_cache_mode', 'force_generic_plan', true)"
_TOO_LONG = (psycopg.errors.IdleInTransactionSessionTimeout, psycopg.errors.TransactionTimeout)
_END_AFTER = ", set_config('transaction_timeout', %s, true)"


def instance_id(kind: str) -> str:
    """Name of this process in the history: what it is, where it runs."""
    return f"{kind}@{socket.gethostname()}:{os.getpid()}"


def row_of(kind: type[Row]) -> BaseRowFactory[Row]:
    """Rows as dataclasses; columns that the class does not know are left out, since a newer schema may have more."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]

    def factory(cursor: psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]) -> RowMaker[Row]:
        names = [column.name for column in cursor.description or ()]
        return lambda values: kind(**{n: v for n, v in zip(names, values, strict=True) if n in known})

    return factory  # type: ignore[return-value]


def check_silent(connection: psycopg.Connection) -> None:
    """Make sure that a connection of the pool is alive. One on which the server has said nothing is: a server that ends
    closes it, and so is heard. Only then it is asked, which takes a round trip.

    Raises:
        psycopg.OperationalError: it isn't.
    """
    heard = select.poll()
    heard.register(connection.fileno(), select.POLLIN)
    if heard.poll(0):
        ConnectionPool.check_connection(connection)


def _end_when_idle(connection: psycopg.Connection) -> None:
    connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'")


class Transaction:
    """Named queries inside one transaction. `prepare`: they are prepared at once, and not only when they come again."""

    def __init__(self, connection: psycopg.Connection, prepare: bool | None = None) -> None:
        self.connection, self._prepare = connection, prepare

    def idle_at_most(self, seconds: int) -> None:
        """Have the server end this transaction when nothing is asked in it for so long: others wait for its rows."""
        self.connection.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, true)", (f"{seconds}s",))

    def wait_at_most(self, seconds: int) -> None:
        """Let no statement wait longer for a lock that others hold: psycopg.errors.LockNotAvailable ends it."""
        self.connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{seconds}s",))

    def run(self, name: str, /, **values: object) -> int:
        """Run a query for its effect; how many rows it touched (not known yet in a pipeline: -1)."""
        return self.send(name, **values).rowcount

    def run_many(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Run a query once per row, in a pipeline."""
        if len(rows) == 1:  # the end of a pipeline is waited for
            self.send(name, **rows[0])
            return
        with self.connection.cursor() as cursor:
            cursor.executemany(QUERIES[name], rows)

    def send(self, name: str, /, **values: object) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run a query; what it says is fetched later, and in a pipeline not waited for until then."""
        return self.connection.execute(QUERIES[name], values, prepare=self._prepare)

    def tuples(self, name: str, /, **values: object) -> list[tuple[Any, ...]]:
        """All rows of a query as tuples."""
        return self.send(name, **values).fetchall()

    def rows(self, name: str, kind: type[Row], /, **values: object) -> list[Row]:
        """All rows of a query as dataclasses."""
        return self.ask(name, kind, **values).fetchall()

    def ask(self, name: str, kind: type[Row], /, **values: object) -> psycopg.Cursor[Row]:
        """Run a query like `send`; its rows are dataclasses."""
        return self.connection.cursor(row_factory=row_of(kind)).execute(QUERIES[name], values, prepare=self._prepare)


class Ledger:
    """A pool of connections for one actor. Use from any thread of one process."""

    def __init__(self, dsn: str, actor: str, pool: ConnectionPool | None = None) -> None:
        self.dsn, self.actor = dsn, actor
        self._pool = pool or ConnectionPool(
            dsn,
            min_size=0,
            max_size=POOL_SIZE,
            timeout=WAIT_SECONDS,
            open=False,
            check=check_silent,
            configure=_end_when_idle,
            kwargs={"application_name": actor, "autocommit": True, **TCP},
        )

    @contextmanager
    def transaction(self, request_id: str = "") -> Iterator[Transaction]:
        """One transaction: committed at the end of the block, rolled back on an exception.

        An illegal transition that the database refuses is recorded as an incident.

        Raises:
            SystemicError: no connection could be had in 30 s, or the server has ended the transaction for idling.
        """
        with self._transaction(request_id, pipelined=False) as tx:
            yield tx

    @contextmanager
    def pipeline(self, request_id: str = "") -> Iterator[Transaction]:
        """A transaction for what is done for every batch: its statements travel together, as far as no result is
        fetched, and are planned once a session, for any values. It can't COPY.

        Raises:
            SystemicError: no connection could be had in 30 s, or the server has ended the transaction after 30 s.
            psycopg.OperationalError: it has, while nobody waited for its answer.
        """
        with self._transaction(request_id, pipelined=True) as tx:
            yield tx

    @contextmanager
    def _transaction(self, request_id: str, *, pipelined: bool) -> Iterator[Transaction]:
        settings, values = _SET_ACTOR, [self.actor, request_id]
        prepare = pipelined or None
        with self._connection() as connection:
            if pipelined:
                settings += _PLAN_ONCE
            if pipelined and connection.info.server_version >= _PIPELINE_LIMIT_FROM:
                settings, values = settings + _END_AFTER, [*values, f"{PIPELINE_SECONDS}s"]
            try:
                with connection.pipeline() if pipelined else nullcontext(), connection.transaction():
                    connection.execute(settings, values, prepare=prepare)
                    yield Transaction(connection, prepare)
            except psycopg.Error as error:
                if error.sqlstate == ILLEGAL_TRANSITION:
                    self._record(connection, error, request_id)
                if isinstance(error, _TOO_LONG):
                    said = "this process stood still, or waited for others, and the ledger ended its transaction"
                    raise SystemicError(said) from error
                raise

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection]:
        self._pool.open()
        try:
            connection = self._pool.getconn()
        except PoolTimeout as error:
            raise SystemicError(f"the ledger can't be reached ({error}): `tradu doctor` says what is wrong") from error
        try:
            yield connection
        finally:
            self._pool.putconn(connection)

    def tuples(self, name: str, /, **values: object) -> list[tuple[Any, ...]]:
        """All rows of one query that changes nothing, in one round trip.

        Raises:
            SystemicError: no connection could be had in 30 s.
        """
        with self._connection() as connection:
            return Transaction(connection, prepare=True).tuples(name, **values)

    def as_actor(self, actor: str) -> Ledger:
        """The same ledger and connections under another name in the history."""
        return Ledger(self.dsn, actor, self._pool)

    def _record(self, connection: psycopg.Connection, error: psycopg.Error, request_id: str) -> None:
        """Write down what was refused: the transaction that tried it is gone."""
        from tradu.ledger.incidents import IncidentKind, report

        with suppress(psycopg.Error), connection.transaction():
            connection.execute(_SET_ACTOR, (self.actor, request_id))
            said = error.diag.message_primary or str(error)
            report(Transaction(connection), IncidentKind.ILLEGAL_TRANSITION, said)

    def close(self) -> None:
        """Close the pool."""
        self._pool.close()


@lru_cache(maxsize=4)
def _ledger(dsn: str, actor: str, _process: int) -> Ledger:
    return Ledger(dsn, actor)


def get_ledger(kind: str) -> Ledger:
    """The ledger of the settings for this process, which acts as `kind` (worker, task, cli)."""
    return _ledger(get_settings().ledger_dsn, instance_id(kind), os.getpid())
