"""`tradu trace`: the whole life of a block or a document, step by step, as the ledger has written it down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from tradu.cli import options
from tradu.cli.output import Output, printable
from tradu.errors import RequestError

if TYPE_CHECKING:
    from tradu.ledger.connection import Ledger
    from tradu.ledger.rows import Block


@dataclass(frozen=True, slots=True)
class Step:
    """A transition, or an incident (then `to_state` is its kind)."""

    at: datetime
    entity: str
    entity_id: str
    from_state: str
    to_state: str
    actor: str
    attempt: int | None
    detail: str | None
    reason: str | None
    request_id: str


def trace(
    name: Annotated[str, typer.Argument(help="A block's id; with --document, a job's id or a part of it.")],
    document: Annotated[
        str | None, typer.Option("--document", help="A document of the job: its path, or how its SHA-256 begins.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show every step of a block, or of a document, with its job's: when, who, why, which attempt.

    \b
    Examples:
      tradu trace 01a20c42-db0e-8853-a027-47392d23d521
      tradu trace 0a9f8e --document docs/guide.md
      tradu trace 01a20c42-db0e-8853-a027-47392d23d521 --json

    `tradu blocks JOB --json` prints the ids of blocks.
    """
    from tradu.cli.ledger import open_ledger
    from tradu.settings import get_settings

    output, ledger = Output(as_json), open_ledger(get_settings())
    block = find_block(ledger, name) if document is None else None
    steps = _of_block(ledger, block) if block else _of_document(ledger, name, document or "")
    if as_json:
        output.data(steps)
        return
    if block:
        output.say(f"{printable(block.path)}, block {block.number}, from {block.source} to {block.target}")
    headings = ("at (UTC)", "what", "from", "to", "who", ">attempt", "models", "reason", "request")
    rows = (
        (
            f"{s.at:%Y-%m-%d %H:%M:%S.%f}",
            s.entity,
            s.from_state,
            s.to_state,
            s.actor,
            s.attempt,
            s.detail or "",
            s.reason or "",
            s.request_id,
        )
        for s in steps
    )
    output.table(headings, rows)


def find_block(ledger: Ledger, name: str) -> Block:
    """The block of an id.

    Raises:
        RequestError: there is none, or it is no id.
    """
    from tradu.ledger import ids
    from tradu.ledger.rows import Block

    try:
        block_id = UUID(name)
    except ValueError:
        raise RequestError(f"{name!r} is not a block's id: `tradu blocks JOB --json` prints them") from None
    low, high = ids.same_time_range(block_id)
    with ledger.transaction() as tx:
        found = tx.rows("find_block", Block, low=low, high=high, block_id=block_id)
    if not found:
        raise RequestError(f"no block {name}: `tradu blocks JOB --json` prints their ids")
    return found[0]


def _of_block(ledger: Ledger, block: Block) -> list[Step]:
    from tradu.cluster.pools import batch_of
    from tradu.inference.routes import TIERS

    # a result that was refused is told of its batch, which may have been that of another tier
    batches = [] if block.batch is None else [str(batch_of(block.batch, tier)) for tier in TIERS]
    return _steps(ledger, block.job_id, [str(block.block_id), block.document_id], batches)


def _of_document(ledger: Ledger, name: str, document: str) -> list[Step]:
    from tradu.cli.ledger import find_job
    from tradu.ledger.rows import Document

    job = find_job(ledger, name)
    with ledger.transaction() as tx:
        documents = tx.rows("documents", Document, job_id=job.job_id)
    found = [d for d in documents if document in d.paths or d.document_id.startswith(document.lower())]
    if len(found) != 1:
        known = ", ".join(d.paths[0] for d in documents[:5])
        raise RequestError(f"{document!r} names {len(found)} documents of job {job.job_id}; it has {known} ...")
    return _steps(ledger, job.job_id, [found[0].document_id])


def _steps(ledger: Ledger, job_id: UUID, entity_ids: list[str], batches: Sequence[str] = ()) -> list[Step]:
    """Transitions and incidents of a job and some of its parts, and incidents of batches, in order."""
    from tradu.ledger.rows import HistoryRow, Incident

    wanted = [str(job_id), *entity_ids]
    with ledger.transaction() as tx:
        history = tx.rows("history_of", HistoryRow, job_id=job_id, entity_ids=wanted)
        incidents = tx.rows("incidents_of", Incident, job_id=job_id, entity_ids=[*wanted, *batches])
    steps = [
        Step(
            h.at, h.entity, h.entity_id, h.from_state, h.to_state, h.actor, h.attempt, h.detail, h.reason, h.request_id
        )
        for h in history
    ]
    steps += [
        Step(
            i.at, i.entity or "job", i.entity_id or str(job_id), "", i.kind, i.actor, None, None, i.reason, i.request_id
        )
        for i in incidents
    ]
    return sorted(steps, key=lambda step: step.at)
