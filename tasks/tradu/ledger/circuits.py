"""Circuits: after some failures of one cause in a row nothing is claimed for a model or the store, until a trial works.

A circuit is closed where it has no row or has not been opened. An open one lets a single batch through when its time
has come: where that works the circuit closes, where it fails it stays open for twice as long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from tradu.ledger.connection import Transaction
from tradu.ledger.incidents import IncidentKind, report

STORE = "store"
LONGEST_DOUBLINGS = 5
_VARIES = re.compile(r"[0-9a-f]{8,}|\d+")


@dataclass(frozen=True, slots=True)
class Circuit:
    """A circuit that is open."""

    name: str
    cause: str
    failures: int
    openings: int
    opened_at: datetime
    retry_at: datetime
    due: bool
    """Whether its time for a trial has come."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a circuit opens, and for how long."""

    failures: int
    seconds: float


def of_model(identity: str) -> str:
    """The circuit of a model."""
    return f"model:{identity}"


def opened(transaction: Transaction) -> list[Circuit]:
    """The circuits that are open."""
    return transaction.rows("open_circuits", Circuit)


def take_trial(transaction: Transaction, name: str, limits: Limits) -> bool:
    """Take the one trial that a circuit allows when it is due; where it fails, the next is due after twice as long."""
    return bool(transaction.tuples("try_circuit", name=name, seconds=limits.seconds, doublings=LONGEST_DOUBLINGS))


def failed(transaction: Transaction, name: str, cause: str, limits: Limits) -> int:
    """Count a failure; how often the circuit was opened or tried since it last worked, 0 where it is not open."""
    ((failures, is_open, openings),) = transaction.tuples("count_failure", name=name, cause=_same(cause))
    if is_open:
        return int(openings)
    if failures < limits.failures:
        return 0
    transaction.run("open_circuit", name=name, seconds=limits.seconds)
    reason = f"{failures} failures in a row: {cause}; next trial in {limits.seconds:.0f} s"
    report(transaction, IncidentKind.CIRCUIT_OPENED, reason, entity="circuit", entity_id=name)
    return 1


def lock(transaction: Transaction, names: Iterable[str]) -> None:
    """For who will say of some that they failed and of others that they work: nobody else does between the two."""
    transaction.send("lock_circuits", names=sorted(set(names)))


def well(transaction: Transaction, names: Iterable[str]) -> None:
    """These have just worked: their failures are forgotten, and their circuits close."""
    transaction.send("close_circuits", names=sorted(set(names)), kind=IncidentKind.CIRCUIT_CLOSED)


def _same(cause: str) -> str:
    """A cause without what differs from one failure to the next: numbers, ids."""
    return _VARIES.sub("#", cause)[:200]
