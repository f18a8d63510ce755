"""Who waits for admission and who is let in, in the ledger: one turn at a time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from uuid import UUID

from tradu.admission import (
    USUAL_CHARACTERS,
    AdmissionPolicy,
    Answer,
    Pressure,
    Running,
    Turn,
    Waiting,
    may_submit,
    served_by,
    take_turn,
)
from tradu.ledger.connection import Ledger, Transaction

IDLE_SECONDS = 15
"""Whoever is frozen while it takes a turn keeps all others from theirs no longer."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The line's admission as people see it: what runs, who waits in which order, and why."""

    pressure: Pressure
    reason: str


def look(tx: Transaction) -> Pressure:
    """What runs and waits now."""
    ((full, usual, per_second),) = tx.tuples("pressure")
    usual = float(usual or USUAL_CHARACTERS)
    return Pressure(
        full=full,
        running=tx.rows("let_in_jobs", Running),
        waiting=tx.rows("deferred_jobs", Waiting),
        served=served_by(tx.tuples("served"), usual),
        usual=usual,
        per_second=float(per_second or 0),
    )


def take(tx: Transaction, policy: AdmissionPolicy, newcomer: Waiting | None = None) -> Turn:
    """Let in who may run now, of those that wait and the newcomer, who doesn't wait in the ledger yet.

    Nobody else takes a turn until the transaction ends.
    """
    tx.idle_at_most(IDLE_SECONDS)
    tx.run("lock_admission")
    pressure = look(tx)
    if newcomer is not None:
        pressure = replace(pressure, waiting=[*pressure.waiting, newcomer])
    turn = take_turn(pressure, policy)
    if admitted := [job for job in turn.admitted if newcomer is None or job != newcomer.job_id]:
        tx.run("let_in", job_ids=admitted)
        tx.run("start_let_in", job_ids=admitted)
    tx.run("note_admission", is_full=turn.full, reason=turn.why)
    return turn


def turn_of(job_ids: Collection[UUID], ledger: Ledger, policy: AdmissionPolicy) -> set[UUID]:
    """Take a turn; which of these jobs don't wait any more, let in or ended."""
    with ledger.transaction() as tx:
        take(tx, policy)
        waiting = {job_id for (job_id,) in tx.tuples("still_deferred", job_ids=list(job_ids))}
    return set(job_ids) - waiting


def standing(ledger: Ledger) -> Standing:
    """What runs, who waits, and why."""
    with ledger.transaction() as tx:
        ((reason,),) = tx.tuples("admission_reason")
        return Standing(look(tx), reason)


def may_wait(tx: Transaction, tenant: str, policy: AdmissionPolicy) -> Answer:
    """May this tenant ask for a job now, and if not, when?"""
    return may_submit(tenant, look(tx), policy)
