"""Incidents: what is no transition of a row and must be known all the same. Append-only, without text or names."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from tradu.ledger.connection import Transaction


class IncidentKind(StrEnum):
    """What an incident is about."""

    ILLEGAL_TRANSITION = "illegal_transition"  # the database refused a change of state
    STALE_RESULT = "stale_result"  # a worker that had lost its blocks came back with results
    STALE_STAGE = "stale_stage"  # a task that had lost its stage came back
    STALE_CONTROLLER = "stale_controller"  # a controller that had lost the lead came back
    BLOCKS_FREED = "blocks_freed"  # a lost worker's blocks went back
    INSTANCE_LOST = "instance_lost"
    CIRCUIT_OPENED = "circuit_opened"
    CIRCUIT_CLOSED = "circuit_closed"
    ROLLOUT_ENDED = "rollout_ended"  # a candidate was promoted, rolled back or taken away
    OBJECT_ORPHANED = "object_orphaned"  # in the store, named by no row
    OBJECT_MISSING = "object_missing"  # named by a row, not in the store, or not as it was written
    SLOW = "slow"  # throughput far below its own recent history
    STANDSTILL = "standstill"  # blocks wait and nothing moves
    LEDGER_HELD = "ledger_held"  # a transaction stays open, and dead rows with it
    LEDGER_BLOATED = "ledger_bloated"  # more dead rows than live ones: autovacuum doesn't keep up
    LEDGER_REWOUND = "ledger_rewound"  # the ledger is older than the store, or another one
    LEDGER_RENEWED = "ledger_renewed"  # a person has accepted it
    NOT_ARCHIVED = "not_archived"  # a job is old enough and stays hot: something of it is lost or damaged
    ARCHIVE_DAMAGED = "archive_damaged"  # an archive is not as it was written
    HELD = "held"  # a job was put under legal hold
    RELEASED = "released"  # and is no longer
    JOB_REBUILT = "job_rebuilt"  # its rows were rebuilt from what lies beside its output
    DELIVERED_BEFORE = "delivered_before"  # output was there, from a time that the ledger has forgotten


def report(
    transaction: Transaction,
    kind: IncidentKind,
    reason: str,
    *,
    job_id: UUID | None = None,
    entity: str | None = None,
    entity_id: str | None = None,
    once_seconds: float = 0,
) -> None:
    """Write down an incident: of a job, or of a block, document, object or instance (`entity`).

    With `once_seconds`, nothing where the same thing was reported within that time: what lasts is said now and then.
    """
    said = {"kind": kind, "reason": reason[:500], "job_id": job_id, "entity": entity, "entity_id": entity_id}
    if once_seconds:
        transaction.run("report_incident_once", **said, seconds=once_seconds)
    else:
        transaction.run("report_incident", **said)
