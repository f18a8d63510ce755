"""The watchdog of the ledger's own health: transactions that keep dead rows, and tables that are full of them.

A transaction that stays open keeps every row that was dead since it began: claims then read more and more of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from tradu.ledger.connection import Ledger, Transaction
from tradu.ledger.incidents import IncidentKind, report

OPEN_SECONDS = 900.0
"""A transaction of ours takes seconds; a dump of a large ledger may take longer, and is worth knowing of."""
IDLE_SECONDS = 120.0
"""A transaction in which nothing happens for so long was forgotten, or its process is frozen."""
DEAD_ROWS = 500_000
"""Fewer dead rows are nothing to speak of."""
SAY_AGAIN_SECONDS = 21_600.0


@dataclass(frozen=True, slots=True)
class OldestTransaction:
    """The session whose transaction is the oldest of this database."""

    application: str
    pid: int
    seconds: float
    idle_seconds: float
    """How long nothing has happened in it; 0 while a statement runs."""


@dataclass(frozen=True, slots=True)
class WorstTable:
    """The table with the most dead rows."""

    name: str
    dead: int
    live: int
    vacuumed_at: datetime | None
    all_dead: int
    """Dead rows of all tables."""


@dataclass(frozen=True, slots=True)
class Health:
    """What the database's statistics say."""

    oldest: OldestTransaction | None
    worst: WorstTable | None


def observe(tx: Transaction) -> Health:
    """Ask the database. Sessions of other roles are seen only with the right to (`pg_monitor`)."""
    oldest, worst = tx.rows("oldest_transaction", OldestTransaction), tx.rows("worst_table", WorstTable)
    return Health(oldest[0] if oldest else None, worst[0] if worst else None)


def judge(health: Health) -> Iterator[tuple[IncidentKind, str]]:
    """What is wrong, with what to do."""
    oldest, worst = health.oldest, health.worst
    if oldest is not None and (oldest.seconds > OPEN_SECONDS or oldest.idle_seconds > IDLE_SECONDS):
        state = f"idle for {oldest.idle_seconds:.0f} s" if oldest.idle_seconds else "at work"
        yield (
            IncidentKind.LEDGER_HELD,
            f"{oldest.application or 'a session'} (pid {oldest.pid}) has had a transaction open for "
            f"{oldest.seconds:.0f} s, {state}: dead rows stay until it ends "
            f"(SELECT pg_terminate_backend({oldest.pid}) ends it)",
        )
    if worst is not None and worst.dead >= DEAD_ROWS and worst.dead > worst.live:
        when = f"{worst.vacuumed_at:%Y-%m-%d %H:%M} UTC" if worst.vacuumed_at else "never"
        yield (
            IncidentKind.LEDGER_BLOATED,
            f"{worst.name} has {worst.dead:,} dead rows beside {worst.live:,} (vacuumed: {when}): autovacuum doesn't "
            "keep up",
        )


def look(ledger: Ledger) -> dict[str, int]:
    """Write down what is wrong, each thing once in six hours; figures for metrics."""
    with ledger.transaction() as tx:
        health = observe(tx)
        found = list(judge(health))
        for kind, said in found:
            report(tx, kind, said, entity="ledger", once_seconds=SAY_AGAIN_SECONDS)
    return {
        "ledger_oldest_transaction_seconds": round(health.oldest.seconds) if health.oldest else 0,
        "ledger_dead_rows": health.worst.all_dead if health.worst else 0,
        "ledger_unwell": len(found),
    }
