"""Rollouts in the ledger: which candidate takes which share of a model's blocks, what was seen, what was decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from tradu.ledger.connection import Transaction
from tradu.ledger.incidents import IncidentKind, report


class RolloutState(StrEnum):
    """States of a rollout."""

    RUNNING = "RUNNING"
    PROMOTED = "PROMOTED"  # the candidate stands in the incumbent's place everywhere
    ROLLED_BACK = "ROLLED_BACK"  # the evidence spoke against it
    ABORTED = "ABORTED"  # a person ended it


class Side(StrEnum):
    """Whose blocks evidence is about."""

    CANDIDATE = "candidate"
    CONTROL = "control"  # as many blocks of the incumbent, done in the same way


@dataclass(frozen=True, slots=True)
class Rollout:
    """A candidate that takes the place of another model for a share of its blocks."""

    rollout_id: int
    incumbent: str
    """Name and version of the model that was there before."""
    candidate: str
    shares: list[float]
    """Of the blocks, 0 to 1, for each step; when the last one is passed the candidate is promoted."""
    step: int
    limits: dict[str, Any]
    state: str
    reason: str | None
    started_by: str
    created_at: datetime
    step_at: datetime
    ended_at: datetime | None

    @property
    def share(self) -> float:
        """The share of the blocks that goes to the candidate now."""
        if self.state == RolloutState.PROMOTED:
            return 1.0
        return self.shares[self.step] if self.state == RolloutState.RUNNING else 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen of one side's blocks in a step."""

    blocks: int = 0
    failed: int = 0
    """Blocks in which something was wrong."""
    segments: int = 0
    characters: int = 0
    score_sum: float = 0.0
    """Of the blocks' mean scores."""
    score_squares: float = 0.0
    timed: int = 0
    """Characters that were translated, and not known already: what the time and the cost were spent on."""
    seconds: float = 0.0
    cost: float = 0.0
    failures: Mapping[str, int] = field(default_factory=dict)
    """Blocks by what was wrong; one may have several faults."""

    def __add__(self, other: Evidence) -> Evidence:
        mine, theirs = asdict(self), asdict(other)
        failures = Counter(mine.pop("failures")) + Counter(theirs.pop("failures"))
        return Evidence(**{name: mine[name] + theirs[name] for name in mine}, failures=dict(failures))


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided about a rollout at some time."""

    at: datetime
    step: int
    result: str
    rule: str
    evidence: dict[str, Any]
    actor: str


@dataclass(frozen=True, slots=True)
class InRollout:
    """A job's part in a rollout."""

    rollout_id: int
    candidate: str
    state: str
    blocks: int
    """Made by the candidate."""
    failed: int
    """That failed the candidate's checks, and were made by the incumbent."""


def in_effect(tx: Transaction) -> list[Rollout]:
    """Rollouts that change what translates a block: running and promoted ones, the oldest first."""
    return tx.rows("rollouts_in_effect", Rollout)


def evidence(tx: Transaction, rollout: Rollout, step: int) -> dict[Side, Evidence]:
    """What has been seen of both sides in a step."""
    found = {Side.CANDIDATE: Evidence(), Side.CONTROL: Evidence()}
    for side, *values in tx.tuples("rollout_evidence", rollout_id=rollout.rollout_id, step=step):
        found[Side(side)] = Evidence(*values)
    return found


def add_evidence(tx: Transaction, job_id: UUID, rollout: Rollout, seen: Mapping[Side, Evidence]) -> None:
    """Add what a batch of a job has shown; its rows stay locked until the transaction ends."""
    if any(more.blocks for more in seen.values()):
        tx.send("add_rollout_job", job_id=job_id, rollout_id=rollout.rollout_id)
    for side, more in sorted(seen.items()):
        if more.blocks:
            values = asdict(more) | {"failures": Jsonb(dict(more.failures))}
            tx.send("add_rollout_evidence", rollout_id=rollout.rollout_id, step=rollout.step, side=side, **values)


def decided(tx: Transaction, rollout: Rollout, result: str, rule: str, seen: Mapping[Side, Evidence]) -> None:
    """Write down a decision with what it rests on."""
    known = Jsonb({str(side): asdict(each) for side, each in seen.items()})
    values = {"step": rollout.step, "result": result, "rule": rule, "evidence": known}
    tx.run("add_rollout_decision", rollout_id=rollout.rollout_id, **values)


def end(tx: Transaction, rollout: Rollout, state: RolloutState, reason: str) -> bool:
    """Bring a rollout to its end, or from PROMOTED to ABORTED; false where another process was first."""
    if not tx.tuples("end_rollout", rollout_id=rollout.rollout_id, state=state, reason=reason, before=rollout.state):
        return False
    said = f"{rollout.candidate} in the place of {rollout.incumbent}: {state}, {reason}"
    report(tx, IncidentKind.ROLLOUT_ENDED, said, entity="rollout", entity_id=str(rollout.rollout_id))
    return True


def step_up(tx: Transaction, rollout: Rollout) -> bool:
    """Go on with the next step; false where another process was first, or the rollout has ended."""
    return bool(tx.tuples("step_rollout", rollout_id=rollout.rollout_id, step=rollout.step))


def start(tx: Transaction, incumbent: str, candidate: str, shares: Sequence[float], limits: Mapping[str, float]) -> int:
    """Start a rollout; its id.

    Raises:
        psycopg.errors.UniqueViolation: one of the same incumbent is in effect.
    """
    values = {"shares": list(shares), "limits": Jsonb(dict(limits))}
    ((rollout_id,),) = tx.tuples("start_rollout", incumbent=incumbent, candidate=candidate, **values)
    return int(rollout_id)
