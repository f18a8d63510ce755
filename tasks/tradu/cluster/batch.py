"""Runs one batch inside a Dask worker: claims what is free of it, tries it, and hands back what failed."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from uuid import UUID

import psycopg

from tradu import telemetry
from tradu.admission import current_policy
from tradu.cluster import canary, pools
from tradu.cluster.attempt import Attempt, add_spending, attempt, circuit_limits, note_health, noted_health, open_routes
from tradu.cluster.heartbeat import Heartbeat, Held
from tradu.cluster.report import Report
from tradu.cluster.segments import engines, plan_of
from tradu.errors import ErrorClass, RequestError, StoreError, SystemicError, TraduError, UnwantedError
from tradu.inference import deadline
from tradu.inference.model import Route
from tradu.ledger import buckets, circuits, rewind
from tradu.ledger.connection import Ledger, Transaction, get_ledger
from tradu.ledger.rollouts import Rollout
from tradu.ledger.rows import Batch, Claim
from tradu.settings import Settings, get_settings
from tradu.store import Store

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 5.0
"""How much longer than a lease a worker waits for blocks that another one holds."""
LOOK_AGAIN_SECONDS = 0.5
BACKOFF_SECONDS = 0.5
MOST_BACKOFF_SECONDS = 10.0
LOCK_SECONDS = 5
"""So long a worker waits for rows that others have locked when it hands blocks back; their leases end by themselves."""
PATIENT_TRIALS = 8
"""So often a circuit is tried in vain before its trials cost blocks their budget: what breaks every model must end."""
_SYSTEMIC = (SystemicError, OSError, psycopg.OperationalError)
heartbeat: Heartbeat | None = None
"""Set when the process is a Dask worker (`tradu.cluster.preload`)."""
kind = "worker"
"""What this process is called in the ledger; `tradu.cluster.preload` adds the worker's name."""


def run_batch(job_id: str, batch: int, alone: bool = False) -> Report:
    """Translate what is free of a batch; what this call has done.

    The ledger decides what is free and how often a block may be tried, so calling it twice, or twice at once, is
    harmless. A failed attempt hands its blocks back with the cause; when their budget is spent they are quarantined.
    Blocks that must go on to a tier of another pool are handed on; `alone`, because that has no worker, they
    stay at what this one can do. Where a limit of claims lets nothing through, nothing is taken, and no budget spent.

    Raises:
        SystemicError: the ledger or the store can't be reached; leases run out, and the shard is submitted again.
    """
    settings, ledger, job = get_settings(), get_ledger(kind), UUID(job_id)
    _make_sure(ledger, settings)
    done, patience = Report(), time.monotonic() + settings.lease_seconds + PATIENCE_SECONDS
    while True:
        begun = time.perf_counter()
        found = _claim(ledger, job, batch, settings)
        claimed = time.perf_counter() - begun
        if found.claims and found.task is not None:
            task = found.task
            with telemetry.bound(job_id=job_id, batch=batch, shard=task.shard, request_id=task.request_id):
                made = _try_all(ledger, job, task, replace(found, alone=alone), settings)
            done = Report(
                done.accepted + made.accepted,
                done.failed + made.failed,
                done.characters + sum(c.characters for c in found.claims),
                done.seconds + time.perf_counter() - begun,
                done.downstream_seconds + claimed + made.downstream_seconds,
                handed_on=done.handed_on + _handed_on(task, made, settings),
            )
            if not made.left and all(c.attempt == 1 and not c.profile for c in found.claims):
                return done
            # what was handed on before by one that could not report it, or to a second tier, the next look finds
            patience = time.monotonic() + settings.lease_seconds + PATIENCE_SECONDS
        elif found.come_again_seconds:
            return replace(done, come_again_seconds=found.come_again_seconds)
        elif found.to_come and time.monotonic() < patience:
            # another worker holds them, perhaps a dead one: its leases run out within this time
            time.sleep(LOOK_AGAIN_SECONDS)
        else:
            forgotten = () if alone else found.handed_on
            return replace(done, gone=found.task is None, handed_on=done.handed_on + forgotten)


def _handed_on(task: Batch, made: Attempt, settings: Settings) -> tuple[tuple[int, str], ...]:
    if not made.handed_on:
        return ()
    return ((pools.batch_of(task.batch, made.handed_on), pools.pool_of(made.handed_on, settings)),)


def _make_sure(ledger: Ledger, settings: Settings) -> None:
    """Ledger and store are there, and belong together.

    Raises:
        SystemicError: they don't, or the store is away: nothing is claimed.
    """
    try:
        rewind.watch(ledger, Store(settings.store))
    except StoreError as error:
        with ledger.transaction() as tx:
            circuits.failed(tx, circuits.STORE, str(error), circuit_limits(settings))
        raise


@dataclass(frozen=True, slots=True)
class _Found:
    """What a look at a batch found: what was claimed of it, and whether more of it may become free soon."""

    task: Batch | None
    claims: Sequence[Claim] = ()
    to_come: bool = False
    shut: Collection[str] = ()
    """Circuits through which nothing may go."""
    in_effect: Sequence[Rollout] = ()
    alone: bool = False
    """The pools of other tiers have no workers."""
    come_again_seconds: float = 0.0
    """A limit of claims lets nothing through for so long."""
    handed_on: tuple[tuple[int, str], ...] = ()
    """Nothing was claimed: the batches in which blocks of it wait for other pools, whoever handed them on."""


def _claim(ledger: Ledger, job: UUID, batch: int, settings: Settings) -> _Found:
    limits = {"job_id": job, "batch": batch, "max_attempts": settings.max_attempts}
    with ledger.pipeline() as tx:
        asked = tx.ask("batch", Batch, job_id=job, batch=batch)
        rolling = tx.ask("rollouts_in_effect", Rollout)
        open_now = circuits.opened(tx)
        task, in_effect = asked.fetchone(), rolling.fetchall()
        if task is None:
            return _Found(None)
        tx.connection.execute("SELECT set_config('tradu.request_id', %s, true)", (task.request_id,))
        routes = _routes(task, in_effect)
        gates = _Gates({c.name for c in open_now}, {c.name for c in open_now if c.due})
        if not gates.let_through(routes):
            tx.run("rest_batch", job_id=job, batch=batch, names=sorted(gates.shut))
            return _Found(task)
        rates = current_policy().claim_limits(task.tenant, settings.pool)
        if rates and (seconds := buckets.wait_seconds(tx, rates)):
            tx.run("rest_batch_for", job_id=job, batch=batch, wait_seconds=seconds)
            return _Found(task, come_again_seconds=seconds)
        claims = tx.rows("claim", Claim, again=False, lease_seconds=settings.lease_seconds, **limits)
        if not claims:
            tx.send("close_exhausted", **limits)
            claims = tx.rows("claim", Claim, again=True, lease_seconds=settings.lease_seconds, **limits)
        if claims:
            if rates:
                buckets.take(tx, rates, sum(c.characters for c in claims))
            taken = {n for n in gates.trials(routes) if circuits.take_trial(tx, n, circuit_limits(settings))}
            return _Found(task, claims, True, gates.shut - taken, in_effect)
        ((to_come,),) = tx.tuples("to_come", job_id=job, batch=batch)
        return _Found(task, to_come=to_come > 0, handed_on=_waiting(tx, job, task, settings))


def _waiting(tx: Transaction, job: UUID, task: Batch, settings: Settings) -> tuple[tuple[int, str], ...]:
    """The batches in which blocks of a batch wait for tiers of other pools, with those pools."""
    others = pools.others_of(task.batch, settings)
    waiting = tx.tuples("with_waiting_blocks", job_id=job, batches=list(others)) if others else []
    return tuple((number, others[number]) for (number,) in waiting)


@dataclass(frozen=True, slots=True)
class _Gates:
    """What open circuits mean for a batch: which are shut, and which of them may be tried now."""

    shut: set[str]
    due: set[str]

    def _usable(self, routes: Sequence[Route]) -> list[Route]:
        return open_routes(routes, self.shut - self.due)

    def let_through(self, routes: Sequence[Route]) -> bool:
        """Whether anything may be claimed. Without routes yes: the attempt will say that there are none."""
        store_is_open = circuits.STORE not in self.shut - self.due
        return store_is_open and (not routes or bool(self._usable(routes)))

    def trials(self, routes: Sequence[Route]) -> list[str]:
        """Circuits that an attempt would try: the store's, and those of the route that it takes first."""
        first = self._usable(routes)[:1]
        used = {circuits.STORE, *(circuits.of_model(m.identity) for route in first for m in route)}
        return sorted(self.due & used)


def _routes(task: Batch, in_effect: Sequence[Rollout]) -> Sequence[Route]:
    """The routes of a batch; none where there are none: the attempt will say so, and quarantine the blocks."""
    try:
        return canary.applied(plan_of(task), in_effect)[0].routes
    except RequestError:
        return []


def _try_all(ledger: Ledger, job: UUID, task: Batch, found: _Found, settings: Settings) -> Attempt:
    """An attempt at what was claimed, under heartbeat; blocks for which a person chose a profile go by themselves.

    Raises:
        SystemicError: the fault lies in no block: all of them have gone back.
    """
    until = time.monotonic() + settings.batch_seconds
    by_profile: dict[str, list[Claim]] = {}
    for claim in found.claims:
        by_profile.setdefault(claim.profile or task.profile, []).append(claim)
    try:
        held = Held(str(job), task.batch, [c.token for c in found.claims], until)
        with _kept_alive(held) as unwanted, deadline.within(settings.batch_seconds, unwanted):
            made = [
                _try(ledger, job, replace(task, profile=profile), claims, found, settings)
                for profile, claims in by_profile.items()
            ]
            return Attempt(
                sum(m.accepted for m in made),
                made[-1].left,
                next((m.handed_on for m in made if m.handed_on), ""),
                sum(m.failed for m in made),
                sum(m.downstream_seconds for m in made),
            )
    except _SYSTEMIC as error:
        log.warning("attempt given up", exc_info=True)
        _release(ledger, job, task, found.claims, error, settings)
        raise SystemicError(_said(error)) from error


def _try(ledger: Ledger, job: UUID, task: Batch, claims: Sequence[Claim], found: _Found, settings: Settings) -> Attempt:
    """One attempt; a failed one hands its blocks back, one that ran out of time those that it had none for. One that
    nobody wants any more holds nothing that could go back, and is nobody's failure."""
    try:
        deadline.check()
        made = attempt(ledger, job, task, claims, found.shut, found.in_effect, settings, alone=found.alone)
        if made.late:
            reason = f"{deadline.OVER}: a batch is held for {settings.batch_seconds:g} s at most"
            _hand_back(ledger, job, task, made.late, ErrorClass.TRANSIENT, reason, settings)
    except UnwantedError as error:
        log.info("given up: %s", error)
        _settle(ledger, job, task, settings)
        return Attempt(0, len(claims))
    except Exception as error:
        kind = class_of(error, Store(settings.store))
        if kind is ErrorClass.SYSTEMIC:
            raise
        log.exception("attempt failed: %s", kind)
        _hand_back(ledger, job, task, claims, kind, _said(error), settings)
        return Attempt(0, len(claims), failed=0 if kind is ErrorClass.DATA else len(claims))
    return made


def class_of(error: BaseException, store: Store) -> ErrorClass:
    """Whose fault an exception is, and so what is done about it."""
    if isinstance(error, TraduError):
        return error.error_class
    if isinstance(error, MemoryError):
        return ErrorClass.RESOURCE
    if isinstance(error, psycopg.OperationalError):
        return ErrorClass.SYSTEMIC
    if isinstance(error, FileNotFoundError) and rewind.is_marked(store):
        return ErrorClass.DATA  # one object is lost: trying again will not bring it back
    return ErrorClass.SYSTEMIC if isinstance(error, OSError) else ErrorClass.TRANSIENT


@contextmanager
def _kept_alive(held: Held) -> Iterator[threading.Event]:
    """The leases are extended while the block runs, in a worker that has a heartbeat; what is set when none is left."""
    if heartbeat is None:
        yield threading.Event()
        return
    unwanted = heartbeat.hold(held)
    try:
        yield unwanted
    finally:
        heartbeat.release()


def _release(
    ledger: Ledger, job: UUID, task: Batch, claims: Sequence[Claim], error: Exception, settings: Settings
) -> None:
    """The ledger or the store is away: the blocks go back untouched, or their leases run out."""
    with suppress(SystemicError, psycopg.Error), ledger.transaction(task.request_id) as tx:
        tx.wait_at_most(LOCK_SECONDS)
        ids, tokens = [c.block_id for c in claims], [c.token for c in claims]
        held = {"job_id": job, "block_ids": ids, "tokens": tokens}
        tx.run("release", **held, reason=_said(error), wait_seconds=MOST_BACKOFF_SECONDS)
        if isinstance(error, OSError | StoreError):
            circuits.failed(tx, circuits.STORE, _said(error), circuit_limits(settings))


def _settle(ledger: Ledger, job: UUID, task: Batch, settings: Settings) -> None:
    """What was spent on work that nobody wants goes on its job's account all the same."""
    noted_health()  # of an attempt that was broken off it says nothing, and of the next one even less
    with suppress(SystemicError, psycopg.Error), ledger.transaction(task.request_id) as tx:
        tx.wait_at_most(LOCK_SECONDS)
        add_spending(tx, job, engines().spent(), settings)


def _said(error: Exception) -> str:
    """What the ledger is told: of an exception that is not ours only what can't quote a document."""
    if isinstance(error, TraduError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = ": ".join(filter(None, (type(error).__name__, error.strerror, str(error.filename or ""))))
    else:
        text = f"{type(error).__name__}; the worker's log says more"
    return text.partition("\n")[0][:500]


def _hand_back(
    ledger: Ledger,
    job: UUID,
    task: Batch,
    claims: Sequence[Claim],
    kind: ErrorClass,
    reason: str,
    settings: Settings,
) -> None:
    """Close a failed attempt: what no retry can mend goes to quarantine, the rest back to PENDING.

    Raises:
        SystemicError: the ledger can't be reached.
        psycopg.OperationalError: the same, or somebody else keeps the blocks locked.
    """
    held = {"job_id": job, "block_ids": [c.block_id for c in claims]}
    tokens = [c.token for c in claims]
    with ledger.transaction(task.request_id) as tx:
        tx.wait_at_most(LOCK_SECONDS)
        trials = note_health(tx, noted_health(), settings)
        add_spending(tx, job, engines().spent(), settings)
    with ledger.transaction(task.request_id) as tx:
        tx.wait_at_most(LOCK_SECONDS)
        if kind is ErrorClass.DATA:
            tx.run("quarantine_held", **held, tokens=tokens, reason=reason, error_class=kind)
        elif kind is ErrorClass.MODEL and 0 < trials <= PATIENT_TRIALS:  # the fault is the model's
            tx.run("release", **held, tokens=tokens, reason=reason, wait_seconds=settings.circuit_seconds)
        else:
            wait = backoff_seconds(max(c.attempt for c in claims), random.random())  # noqa: S311 - no secret
            tx.run("hand_back", **held, tokens=tokens, error_class=kind, reason=reason, wait_seconds=wait)
        tx.run("count_failures", blocks=len(claims))


def backoff_seconds(number: int, chance: float) -> float:
    """How long a block rests after attempt `number`: doubled each time, with jitter (0.5 to 1.5 times)."""
    return min(MOST_BACKOFF_SECONDS, BACKOFF_SECONDS * 2.0 ** (number - 1)) * (0.5 + chance)
