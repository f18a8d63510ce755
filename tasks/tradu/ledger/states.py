"""The states of jobs, documents and blocks and every legal transition: the one table both Python and SQL use."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """States of a job."""

    DEFERRED = "DEFERRED"
    ADMITTED = "ADMITTED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    PARTIAL = "PARTIAL"
    ERROR = "ERROR"
    CANCELED = "CANCELED"


class DocumentState(StrEnum):
    """States of a document within a job."""

    REGISTERED = "REGISTERED"
    PARTITIONED = "PARTITIONED"
    TRANSLATING = "TRANSLATING"
    ASSEMBLING = "ASSEMBLING"
    COMPLETED = "COMPLETED"
    PARTIAL = "PARTIAL"
    ERROR = "ERROR"
    CANCELED = "CANCELED"


class BlockState(StrEnum):
    """States of a block."""

    PENDING = "PENDING"
    CLAIMED = "CLAIMED"
    PROCESSING = "PROCESSING"
    VALIDATING = "VALIDATING"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"
    CANCELED = "CANCELED"


class Decision(StrEnum):
    """What becomes of a job that a gate has stopped."""

    ACCEPT = "accept"  # go on: what is bad is quarantined, however much of it there is
    RETRY = "retry"  # run again, what the gate on translations refuses with a higher profile
    DROP = "drop"  # leave it in ERROR


NEW = ""
"""The state before the first one: what a row that has just been inserted comes from."""

J, D, B = JobState, DocumentState, BlockState

JOB_TRANSITIONS: dict[str, tuple[JobState, ...]] = {
    NEW: (J.DEFERRED, J.ADMITTED),
    J.DEFERRED: (J.ADMITTED, J.ERROR, J.CANCELED),
    J.ADMITTED: (J.RUNNING, J.ERROR, J.CANCELED),
    J.RUNNING: (J.COMPLETED, J.PARTIAL, J.ERROR, J.CANCELED),
    J.PARTIAL: (J.RUNNING,),
    J.ERROR: (J.RUNNING, J.DEFERRED),
    J.COMPLETED: (J.RUNNING,),
}

_DOCUMENT_ENDS = (D.COMPLETED, D.PARTIAL, D.ERROR, D.CANCELED)
DOCUMENT_TRANSITIONS: dict[str, tuple[DocumentState, ...]] = {
    NEW: (D.REGISTERED,),
    D.REGISTERED: (D.PARTITIONED, D.ERROR, D.CANCELED),
    D.PARTITIONED: (D.TRANSLATING, D.ASSEMBLING, D.ERROR, D.CANCELED),
    D.TRANSLATING: (D.ASSEMBLING, D.ERROR, D.CANCELED),
    D.ASSEMBLING: _DOCUMENT_ENDS,
    D.PARTIAL: (D.TRANSLATING,),
    D.ERROR: (D.TRANSLATING,),
    D.COMPLETED: (D.TRANSLATING,),
}

BLOCK_TRANSITIONS: dict[str, tuple[BlockState, ...]] = {
    NEW: (B.PENDING,),
    B.PENDING: (B.CLAIMED, B.COMPLETED, B.ERROR, B.CANCELED),
    B.CLAIMED: (B.PROCESSING, B.PENDING, B.ERROR, B.CANCELED),
    B.PROCESSING: (B.VALIDATING, B.PENDING, B.ERROR, B.CANCELED),
    B.VALIDATING: (B.PROCESSING, B.PENDING, B.COMPLETED, B.ERROR, B.CANCELED),
    B.ERROR: (B.PENDING, B.COMPLETED),
    B.COMPLETED: (B.PENDING,),
}

JOB_ENDED = frozenset({J.COMPLETED, J.PARTIAL, J.ERROR, J.CANCELED})
BLOCK_WAITING = (B.PENDING, B.CLAIMED, B.PROCESSING)
"""States of a block that still wants a translation."""


def rows() -> list[tuple[str, str, str]]:
    """Every legal transition as (entity, from, to), as the database's own table holds it."""
    return [
        (entity, before, after)
        for entity, table in (
            ("job", JOB_TRANSITIONS),
            ("document", DOCUMENT_TRANSITIONS),
            ("block", BLOCK_TRANSITIONS),
        )
        for before, afters in table.items()
        for after in afters
    ]
