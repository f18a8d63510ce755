"""Rows of the ledger as they are read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Job:
    """A request: some documents, a source language or `auto`, target languages, a profile."""

    job_id: UUID
    tenant: str
    region: str
    idempotency_key: str
    request_id: str
    run_id: str | None
    state: str
    source: str
    targets: list[str]
    profile: str
    documents: list[str]
    options: dict[str, Any]
    reason: str | None
    cost_estimate: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    stopped_by: str | None = None
    """The gate that stopped the job, while nobody has decided what becomes of it."""
    max_cost: float | None = None
    """What the job may cost; None: whatever it takes."""
    priority: int = 5
    """0 to 10: where jobs of a tenant wait, the highest is let in first."""
    characters: int | None = None
    """Characters of source text times target languages; None: not counted yet."""
    residence: str = "hot"
    """Where its bytes lie: hot, warm, cold or purged."""
    legal_hold: bool = False
    """It may be neither archived nor removed."""
    sharding: dict[str, Any] | None = None
    """How many shards it has, and what that follows from (`tradu.partitioning.plan`); None: not planned yet."""
    dropped_at: datetime | None = None
    """When a person dropped it after a gate had stopped it; None: nobody has, or it was taken up again since."""


@dataclass(frozen=True, slots=True)
class Document:
    """An input file of a job. `paths` are where it stands in the tree that came in; one file may stand twice."""

    job_id: UUID
    document_id: str
    paths: list[str]
    origin: str
    format: str | None
    source: str | None
    language_confidence: float | None
    size_bytes: int
    segments: int
    characters: int
    state: str
    error: str | None
    reason: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch with what a worker needs to run it."""

    batch: int
    source: str
    target: str
    part: str
    row_group: int
    characters: int
    shard: int
    profile: str
    request_id: str
    tenant: str = "default"
    max_cost: float | None = None
    """What its job may cost; None: whatever it takes."""
    tier: str = ""
    """The tier that its blocks wait for; empty: the first."""


@dataclass(frozen=True, slots=True)
class BatchSize:
    """A batch as the planner sees it."""

    batch: int
    source: str
    target: str
    characters: int
    shard: int | None = None
    """None: it has no place yet."""


@dataclass(frozen=True, slots=True)
class Spending:
    """What the models of a route took for a job, rejected attempts included."""

    tier: str
    models: str
    texts: int
    characters: int
    climbed: int
    """Segments that came up to it from a lower tier."""
    stayed: int
    """Segments of it that scored low and did not climb, for the budget was spent."""
    seconds: float
    cost: float


@dataclass(frozen=True, slots=True)
class Claim:
    """A block that this process holds under a fencing token."""

    block_id: UUID
    document_id: str
    number: int
    token: int
    attempt: int
    profile: str | None = None
    """What a person chose for this block; None: the job's."""
    characters: int = 0
    """Of source text."""


@dataclass(frozen=True, slots=True)
class PlacedBlock:
    """A block of a document with the place of its source text and its current translation."""

    block_id: UUID
    number: int
    state: str
    result: str | None
    reason: str | None
    tier: str | None
    score: float | None
    part: str | None
    row_group: int | None


@dataclass(frozen=True, slots=True)
class PageBlock:
    """A block on a page of blocks, with the place of its source text and its current translation."""

    block_id: UUID
    document_id: str
    path: str
    target: str
    number: int
    segments: int
    state: str
    reason: str | None
    models: list[str] | None
    tier: str | None
    score: float | None
    result: str | None
    part: str | None
    row_group: int | None


@dataclass(frozen=True, slots=True)
class Block:
    """A block as the command line shows it."""

    job_id: UUID
    block_id: UUID
    document_id: str
    target: str
    number: int
    batch: int | None
    segments: int
    characters: int
    state: str
    attempt: int
    token: int | None
    lease_until: datetime | None
    claimed_by: str | None
    processing_at: datetime | None
    validating_at: datetime | None
    result: str | None
    models: list[str] | None
    tier: str | None
    score: float | None
    seconds: float | None
    cost: float | None
    error_class: str | None
    reason: str | None
    updated_at: datetime
    path: str
    source: str = ""
    """The language it is in; that of a block that needs no translation is its target."""


@dataclass(frozen=True, slots=True)
class Output:
    """A translated document as assemble made it."""

    job_id: UUID
    document_id: str
    target: str
    size_bytes: int
    sha256: str
    units_in: int
    units_out: int
    segments: int
    translated: int
    untranslated: int
    refused: str | None
    paths: list[str]
    source: str | None
    format: str | None
    origin: str


@dataclass(frozen=True, slots=True)
class BlockCount:
    """Blocks of one document and language in one state."""

    document_id: str
    target: str
    state: str
    blocks: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Blocks of a job in one state."""

    state: str
    blocks: int
    characters: int


@dataclass(frozen=True, slots=True)
class Total:
    """What one language, tier and choice of models took."""

    target: str
    tier: str | None
    models: list[str] | None
    blocks: int
    segments: int
    characters: int
    score: float | None
    seconds: float | None
    cost: float | None


@dataclass(frozen=True, slots=True)
class LanguageCount:
    """Blocks of a job that are in one language."""

    source: str
    target: str
    passed: bool
    """They are in the target language already."""
    blocks: int
    characters: int


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """Quarantined blocks of one cause."""

    error_class: str | None
    reason: str | None
    blocks: int


@dataclass(frozen=True, slots=True)
class ShardWatch:
    """What a trigger needs to know of a shard."""

    job_id: UUID
    shard: int
    job_state: str
    waiting: int
    leased: int


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One transition."""

    job_id: UUID
    entity: str
    entity_id: str
    at: datetime
    from_state: str
    to_state: str
    actor: str
    attempt: int | None
    reason: str | None
    request_id: str
    detail: str | None = None
    """Models and tier of a translation."""


@dataclass(frozen=True, slots=True)
class Incident:
    """What is no transition and must be known all the same."""

    incident_id: int
    at: datetime
    kind: str
    job_id: UUID | None
    entity: str | None
    entity_id: str | None
    actor: str
    reason: str
    request_id: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A quarantined block or document that nobody has decided on."""

    job_id: UUID
    entity: str
    entity_id: str
    at: datetime
    error_class: str
    reason: str
    evidence: dict[str, Any]
    path: str | None
    target: str | None
    number: int | None


@dataclass(frozen=True, slots=True)
class Letter:
    """One of the dead letters of a block or document, with what became of it."""

    at: datetime
    error_class: str
    reason: str
    evidence: dict[str, Any]
    decision: str | None
    decided_by: str | None
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class Minute:
    """What one minute brought."""

    minute: datetime
    blocks: int
    characters: int
    waiting: bool
    """Whether work waited at its end."""
