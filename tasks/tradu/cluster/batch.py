"""Runs one batch inside a Dask worker: claims what is free of it, tries it, and hands back what failed."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import UUID

import psycopg

from tradu import telemetry
from tradu.cluster.attempt import attempt
from tradu.cluster.heartbeat import Heartbeat, Held
from tradu.errors import ErrorClass, SystemicError, TraduError
from tradu.ledger.connection import Ledger, get_ledger
from tradu.ledger.rows import Batch, Claim
from tradu.settings import Settings, get_settings
from tradu.store import Store

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 5.0
"""How much longer than a lease a worker waits for blocks that another one holds."""
LOOK_AGAIN_SECONDS = 0.5
BACKOFF_SECONDS = 0.5
MOST_BACKOFF_SECONDS = 10.0
heartbeat: Heartbeat | None = None
"""Set when the process is a Dask worker (`tradu.cluster.preload`)."""


def run_batch(job_id: str, batch: int) -> int:
    """Translate what is free of a batch; how many blocks this call brought to a result.

    The ledger decides what is free and how often a block may be tried, so calling it twice, or twice at once, is
    harmless. A failed attempt hands its blocks back with the cause; when their budget is spent they are quarantined.

    Raises:
        SystemicError: the ledger or the store can't be reached; leases run out, and the shard is submitted again.
    """
    settings, ledger, job = get_settings(), get_ledger("worker"), UUID(job_id)
    done, patience = 0, time.monotonic() + settings.lease_seconds + PATIENCE_SECONDS
    while True:
        task, claims, to_come = _claim(ledger, job, batch, settings)
        if claims and task is not None:
            with telemetry.bound(job_id=job_id, batch=batch, shard=task.shard, request_id=task.request_id):
                done += _try(ledger, job, task, claims, settings)
            patience = time.monotonic() + settings.lease_seconds + PATIENCE_SECONDS
        elif to_come and time.monotonic() < patience:
            # another worker holds them, perhaps a dead one: its leases run out within this time
            time.sleep(LOOK_AGAIN_SECONDS)
        else:
            return done


def _claim(ledger: Ledger, job: UUID, batch: int, settings: Settings) -> tuple[Batch | None, list[Claim], bool]:
    """The batch, what is claimed of it, and whether more of it may become free."""
    with ledger.transaction() as tx:
        tasks = tx.rows("batch", Batch, job_id=job, batch=batch)
        if not tasks:
            return None, [], False
        tx.connection.execute("SELECT set_config('tradu.request_id', %s, true)", (tasks[0].request_id,))
        limits = {"job_id": job, "batch": batch, "max_attempts": settings.max_attempts}
        tx.run("close_exhausted", **limits)
        for again in (False, True):
            if claims := tx.rows("claim", Claim, again=again, lease_seconds=settings.lease_seconds, **limits):
                return tasks[0], claims, True
        ((to_come,),) = tx.tuples("to_come", job_id=job, batch=batch)
        return tasks[0], [], to_come > 0


def _try(ledger: Ledger, job: UUID, task: Batch, claims: Sequence[Claim], settings: Settings) -> int:
    """One attempt under heartbeat; a failed one hands its blocks back."""
    until = time.time() + settings.batch_seconds
    try:
        with _kept_alive(Held(str(job), task.batch, [c.token for c in claims], until)):
            return attempt(ledger, job, task, claims, settings)
    except Exception as error:
        kind = class_of(error, Store(settings.store))
        if kind is ErrorClass.SYSTEMIC:
            _release(ledger, job, task, claims, error)
            raise SystemicError(_said(error)) from error
        log.exception("attempt failed: %s", kind)
        _hand_back(ledger, job, task, claims, kind, _said(error))
        return 0


def class_of(error: Exception, store: Store) -> ErrorClass:
    """Whose fault an exception is, and so what is done about it."""
    if isinstance(error, TraduError):
        return error.error_class
    if isinstance(error, MemoryError):
        return ErrorClass.RESOURCE
    if isinstance(error, psycopg.OperationalError):
        return ErrorClass.SYSTEMIC
    if isinstance(error, FileNotFoundError) and store.is_there():
        return ErrorClass.DATA  # one object is lost: trying again will not bring it back
    return ErrorClass.SYSTEMIC if isinstance(error, OSError) else ErrorClass.TRANSIENT


@contextmanager
def _kept_alive(held: Held) -> Iterator[None]:
    """The leases are extended while the block runs, in a worker that has a heartbeat."""
    if heartbeat is None:
        yield
        return
    heartbeat.hold(held)
    try:
        yield
    finally:
        heartbeat.release()


def _release(ledger: Ledger, job: UUID, task: Batch, claims: Sequence[Claim], error: Exception) -> None:
    """The ledger or the store is away: the blocks go back untouched, or their leases run out."""
    with suppress(SystemicError, psycopg.Error), ledger.transaction(task.request_id) as tx:
        ids, tokens = [c.block_id for c in claims], [c.token for c in claims]
        tx.run("release", job_id=job, block_ids=ids, tokens=tokens, reason=_said(error))


def _said(error: Exception) -> str:
    text = str(error) if isinstance(error, TraduError) else f"{type(error).__name__}: {error}"
    return text.partition("\n")[0][:500]


def _hand_back(ledger: Ledger, job: UUID, task: Batch, claims: Sequence[Claim], kind: ErrorClass, reason: str) -> None:
    """Close a failed attempt: what no retry can mend goes to quarantine, the rest back to PENDING."""
    ids = [c.block_id for c in claims]
    with ledger.transaction(task.request_id) as tx:
        if kind is ErrorClass.DATA:
            tx.run("quarantine", job_id=job, block_ids=ids, reasons=[reason] * len(ids), error_class=kind)
        else:
            tokens = [c.token for c in claims]
            wait = backoff_seconds(max(c.attempt for c in claims), random.random())  # noqa: S311 - no secret
            tx.run(
                "hand_back",
                job_id=job,
                block_ids=ids,
                tokens=tokens,
                error_class=kind,
                reason=reason,
                wait_seconds=wait,
            )


def backoff_seconds(number: int, chance: float) -> float:
    """How long a block rests after attempt `number`: doubled each time, with jitter (0.5 to 1.5 times)."""
    return min(MOST_BACKOFF_SECONDS, BACKOFF_SECONDS * 2.0 ** (number - 1)) * (0.5 + chance)
