"""Partitions of the ledger, by the month of the job: made ahead, and dropped when nothing lies in them any more.

A month is dropped only when each of its tables is empty: its rows were archived or purged, by the one role that may
delete history. Dropping gives back the space, and can lose nothing. Each step may be killed: the next round goes on
from what it finds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import groupby
from uuid import UUID

import psycopg
from psycopg.sql import SQL, Identifier

from tradu.errors import RequestError, TransientError
from tradu.ledger import ids
from tradu.ledger.connection import Ledger, Transaction

log = logging.getLogger(__name__)
MONTHS_AHEAD = 2
LOCK_SECONDS = 2
"""For so long a step waits for others; they go on meanwhile, and the step is tried again in the next round."""
TRIES = 3


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month, in UTC."""

    year: int
    month: int

    @classmethod
    def of(cls, moment: datetime) -> Month:
        """The month of a moment."""
        return cls(moment.astimezone(UTC).year, moment.astimezone(UTC).month)

    @classmethod
    def of_suffix(cls, suffix: str) -> Month:
        """The month that the name of a partition ends with: 2026_11."""
        year, month = suffix.split("_")
        return cls(int(year), int(month))

    def plus(self, months: int) -> Month:
        """So many months later."""
        years, month = divmod(self.month - 1 + months, 12)
        return Month(self.year + years, month + 1)

    @property
    def first(self) -> datetime:
        """Its first moment."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"


class Attachment(StrEnum):
    """How a partition stands to its table."""

    ATTACHED = "attached"
    DETACHING = "detaching"
    """Something was killed, or gave way, while it detached it."""
    DETACHED = "detached"


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition, or a table that was one and is not dropped yet."""

    parent: str
    name: str
    suffix: str
    attachment: str
    rows: int
    """As PostgreSQL estimates them."""
    size_bytes: int
    """With its indexes."""


@dataclass(frozen=True, slots=True)
class _JobsOfMonth:
    first: UUID
    jobs: int
    hot: int
    held: int


@dataclass(frozen=True, slots=True)
class MonthOfLedger:
    """What the ledger has of a month."""

    month: Month
    partitions: Sequence[Partition]
    jobs: int
    """Jobs that were asked for in it."""
    hot: int
    """Those that are neither archived nor purged."""
    held: int
    """Those that some process works on now: it may be restoring them."""

    @property
    def rows(self) -> int:
        """Rows in all its tables, as PostgreSQL estimates them."""
        return sum(p.rows for p in self.partitions)

    @property
    def size_bytes(self) -> int:
        """What its tables take, with their indexes."""
        return sum(p.size_bytes for p in self.partitions)

    def is_over(self, now: datetime) -> bool:
        """Whether no new job can be of this month, and none of it is at work."""
        return self.month < Month.of(now) and not self.hot and not self.held


def ahead(now: datetime) -> list[Month]:
    """Months whose partitions must be there: this one and the next ones."""
    return [Month.of(now).plus(n) for n in range(MONTHS_AHEAD + 1)]


def look(ledger: Ledger) -> list[MonthOfLedger]:
    """Every month that has partitions, in order."""
    with ledger.transaction() as tx:
        found = tx.rows("partitions", Partition)
        by_month = {Month.of_suffix(s): list(group) for s, group in groupby(found, lambda p: p.suffix)}
        firsts = {ids.first_of(month.first): month for month in by_month}
        lasts = [ids.first_of(month.plus(1).first) for month in by_month]
        counted = tx.rows("jobs_of_months", _JobsOfMonth, firsts=list(firsts), lasts=lasts)
    counts = {firsts[c.first]: c for c in counted}
    return [MonthOfLedger(m, p, counts[m].jobs, counts[m].hot, counts[m].held) for m, p in by_month.items()]


def make_ahead(ledger: Ledger, now: datetime) -> list[Month]:
    """Make what is missing of this month and the next ones; the months that lacked something."""
    made = []
    with ledger.transaction() as tx:
        for month in ahead(now):
            if tx.tuples("missing_partitions", suffix=f"_{month.year:04d}_{month.month:02d}"):
                tx.connection.execute("SELECT ensure_partitions(%s)", (month.first,))
                made.append(month)
    return made


def drop(ledger: Ledger, month: Month, now: datetime) -> bool:
    """Detach and drop the partitions of a month that is over, beside running work; false where they hold rows.

    Raises:
        RequestError: the month isn't over, or some of its jobs are at work or not archived.
        TransientError: others hold locks, or another process is at it: what is left is done the next time.
    """
    with _alone(ledger) as tx:
        (found,) = [m for m in look(ledger) if m.month == month] or [MonthOfLedger(month, (), 0, 0, 0)]
        if not found.is_over(now):
            raise RequestError(f"{month} is not over: {found.hot} of its jobs are not archived, {found.held} at work")
        empty = all(_is_empty(tx.connection, p) for p in found.partitions)
        for partition in found.partitions:
            if empty or partition.attachment == Attachment.DETACHING:
                _detach(tx.connection, partition)
        if empty and all(_drop_empty(tx.connection, p) for p in found.partitions):
            return True
        tx.connection.execute("SELECT ensure_partitions(%s)", (month.first,))  # what lies in it must be seen
        return False


def upkeep(ledger: Ledger, now: datetime) -> dict[str, int]:
    """One round: what is missing is made, months that are over and empty are dropped; counts."""
    made, dropped, busy = make_ahead(ledger, now), 0, 0
    for found in look(ledger):
        if found.is_over(now):
            try:
                dropped += drop(ledger, found.month, now)
            except (RequestError, TransientError) as error:
                log.info("%s stays until the next round: %s", found.month, error)
                busy += 1
    return {"months_made": len(made), "months_dropped": dropped, "months_busy": busy}


@contextmanager
def _alone(ledger: Ledger) -> Iterator[Transaction]:
    """A session of its own, in which each statement is a transaction, that waits for nobody for long; one at a time."""
    with psycopg.connect(ledger.dsn, autocommit=True, application_name=ledger.actor) as connection:
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{LOCK_SECONDS}s",))
        tx = Transaction(connection)
        if tx.tuples("lock_partitions") != [(True,)]:
            raise TransientError("another process makes or drops partitions")
        yield tx


def _is_empty(connection: psycopg.Connection, partition: Partition) -> bool:
    query = SQL("SELECT EXISTS (SELECT FROM {})").format(Identifier(partition.name))
    return connection.execute(query).fetchone() == (False,)


def _detach(connection: psycopg.Connection, partition: Partition) -> None:
    """CONCURRENTLY: transactions that use the table are waited for, and new ones don't wait.

    Raises:
        TransientError: others have used it all the time.
    """
    if partition.attachment == Attachment.DETACHED:
        return
    how = "FINALIZE" if partition.attachment == Attachment.DETACHING else "CONCURRENTLY"
    for _ in range(TRIES):
        statement = SQL("ALTER TABLE {} DETACH PARTITION {} " + how).format(
            Identifier(partition.parent), Identifier(partition.name)
        )
        try:
            connection.execute(statement)
        except psycopg.errors.LockNotAvailable:
            how = _how_to_go_on(connection, partition)
        else:
            return
    raise TransientError(f"{partition.name} is in use")


def _how_to_go_on(connection: psycopg.Connection, partition: Partition) -> str:
    (now,) = [p for p in Transaction(connection).rows("partitions", Partition) if p.name == partition.name]
    return "FINALIZE" if now.attachment == Attachment.DETACHING else "CONCURRENTLY"


def _drop_empty(connection: psycopg.Connection, partition: Partition) -> bool:
    """Drop a detached table; false where somebody has written into it before it was detached."""
    name = Identifier(partition.name)
    try:
        with connection.transaction():
            connection.execute(SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(name))
            if not _is_empty(connection, partition):
                return False
            connection.execute(SQL("DROP TABLE {}").format(name))
    except psycopg.errors.LockNotAvailable:
        raise TransientError(f"{partition.name} is being read") from None
    return True
