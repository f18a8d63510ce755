"""Circuits: after some failures of one cause in a row nothing is claimed for a model or the store, until a trial works.

A circuit is closed where it has no row or has not been opened. An open one lets a single batch through when its time
has come: where that works the circuit closes, where it fails it stays open for twice as long.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
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


def shut(transaction: Transaction, wanted: Collection[str] | None, limits: Limits) -> set[str]:
    """Names of the circuits through which nothing may go now; the trial of one that is due is taken by this call.

    Args:
        transaction: a transaction of the one that is about to claim.
        wanted: circuits that the claim would use; None: all, and no trial is taken.
        limits: how long a trial is left to succeed.
    """
    found = transaction.rows("open_circuits", Circuit)
    closed = {circuit.name for circuit in found}
    for circuit in found:
        if wanted is not None and circuit.due and circuit.name in wanted:
            closed -= {name for (name,) in transaction.tuples("try_circuit", name=circuit.name, seconds=limits.seconds)}
    return closed


def failed(transaction: Transaction, name: str, cause: str, limits: Limits) -> bool:
    """Count a failure; whether this one opened the circuit, or left it open for longer."""
    ((failures, is_open, openings),) = transaction.tuples("count_failure", name=name, cause=_same(cause))
    if not is_open and failures < limits.failures:
        return False
    seconds = limits.seconds * 2 ** min(openings, LONGEST_DOUBLINGS)
    transaction.run("open_circuit", name=name, seconds=seconds)
    if not is_open:
        reason = f"{failures} failures in a row: {cause}; next trial in {seconds:.0f} s"
        report(transaction, IncidentKind.CIRCUIT_OPENED, reason, entity="circuit", entity_id=name)
    return True


def well(transaction: Transaction, names: Iterable[str]) -> None:
    """These have just worked: their failures are forgotten, and their circuits close."""
    for name, was_open, cause in transaction.tuples("close_circuits", names=sorted(set(names))):
        if was_open:
            report(
                transaction,
                IncidentKind.CIRCUIT_CLOSED,
                f"works again after: {cause}",
                entity="circuit",
                entity_id=name,
            )


def _same(cause: str) -> str:
    """A cause without what differs from one failure to the next: numbers, ids."""
    return _VARIES.sub("#", cause)[:200]
