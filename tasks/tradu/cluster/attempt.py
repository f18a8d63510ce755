"""One attempt at a batch: read its segments, translate and check them, write the results, make them current."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from uuid import UUID

import pyarrow as pa

from tradu import layout, tables
from tradu.cluster import budget, canary, evidence, pools
from tradu.cluster.canary import Shown
from tradu.cluster.segments import Row, Segment, engines, plan_of, translated, weights
from tradu.errors import CircuitOpenError, ModelError
from tradu.inference import deadline
from tradu.inference.cascade import Plan
from tradu.inference.model import Route
from tradu.inference.pool import Spent
from tradu.inference.routes import tier_of
from tradu.inference.translate import Climb
from tradu.ledger import circuits, objects
from tradu.ledger.connection import Ledger, Transaction
from tradu.ledger.incidents import IncidentKind, report
from tradu.ledger.pools import count_latencies
from tradu.ledger.rollouts import Rollout
from tradu.ledger.rows import Batch, Claim
from tradu.quality import checks
from tradu.settings import Settings
from tradu.store import Store, StoredObject

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of an attempt: blocks the ledger accepted, and blocks of the batch that still want a translation."""

    accepted: int
    left: int
    handed_on: str = ""
    """The tier of another pool that blocks were handed on to."""
    failed: int = 0
    """Blocks whose attempt failed for another reason than their own content."""
    downstream_seconds: float = 0.0
    """It waited for the store and the ledger."""
    late: Sequence[Claim] = ()
    """Blocks that there was no time for: they are still claimed, and to be handed back."""


def open_routes(routes: Sequence[Route], shut: Collection[str]) -> list[Route]:
    """The routes of which no model's circuit is shut."""
    return [route for route in routes if not any(circuits.of_model(m.identity) in shut for m in route)]


def attempt(
    ledger: Ledger,
    job: UUID,
    task: Batch,
    claims: Sequence[Claim],
    shut: Collection[str],
    in_effect: Sequence[Rollout],
    settings: Settings,
    *,
    alone: bool = False,
) -> Attempt:
    """Bring claimed blocks of a batch to a result, or let them go on to a tier of another pool, unless it is `alone`.

    Raises:
        RequestError: no installed model leads from the source to the target language.
        CircuitOpenError: the circuits of all models that do are open.
        ModelError: no model could translate any of it.
        UnwantedError: none of it is held any more.
    """
    started_at, started = datetime.now(UTC), time.perf_counter()
    engines().spent()  # what an attempt took that could not be written is nobody's, and least of all this job's
    store = Store(settings.store)
    held = _read(store, task, claims)
    read = time.perf_counter() - started
    plan, trial = canary.applied(plan_of(task), in_effect)
    usable = open_routes(plan.routes, shut)
    if not usable:
        raise CircuitOpenError(f"no model for {task.source} to {task.target} works: their circuits are open")
    every, usable = usable, pools.own(usable, settings)
    higher = tier_of(every[len(usable)]) if len(usable) < len(every) else ""
    if higher and alone:
        usable = pools.without_others(every, settings)
    if higher and trial is not None:
        trial = canary.limited(trial, len(pools.own(plan.routes, settings)))
    if not usable:  # the first tier is another pool's already
        if alone:
            raise ModelError(f"no worker serves {higher}, and no other tier leads to {task.target}")
        all_of_them = dict.fromkeys(((c.document_id, c.number) for c in claims), f"{higher} is served by another pool")
        return _hand_on(ledger, job, task, claims, all_of_them, higher, started_at)
    climbed_at: list[datetime] = []

    def allowance() -> float:
        climbed_at.append(datetime.now(UTC))
        return budget.allowance(ledger, job, task, settings)

    climb = Climb(plan.climb_below, allowance)
    shown = canary.in_parts(ledger, store, task, claims, held, plan, usable, climb, trial) if trial else None
    pairs = shown.made if shown else translated(ledger, store, task, held, plan, usable, climb)
    keys, rows = [key for key, _ in pairs], [row for _, row in pairs]
    going_on: dict[tuple[str, int], str] = {}
    if higher:
        low = [n for n, row in enumerate(rows) if pools.must_go_on(row, higher, plan)]
        may_climb = bool(low) and not alone and allowance() > 0
        stays = {n for n in low if alone or not (checks.failed(rows[n].checks) or may_climb)}
        rows = [replace(r, stayed=True, first_score=r.checks.score) if n in stays else r for n, r in enumerate(rows)]
        going_on = _going_on(rows, [n for n in low if n not in stays], higher)
    health = engines().noted()
    if trial is not None:  # its failures are evidence of its rollout, which ends sooner than its circuit opens
        health.pop(trial.candidate.identity, None)
    worked = time.perf_counter()
    stored = tables.write(
        store, layout.result_key(job, task.batch, min(c.token for c in claims)), _table(rows, claims, task)
    )
    # what a stand-in made is not what the models at hand would make another time: it is not kept for later
    disturbed = len(usable) < len(plan.routes) or any(health.values()) or not deadline.left()
    work = _Work(
        rows,
        keys,
        plan,
        stored,
        started_at,
        climbed_at=climbed_at[0] if climbed_at else started_at,
        seconds=time.perf_counter() - started,
        health=health,
        spent=engines().spent() if shown is None else shown.spent,
        disturbed=disturbed,
        shown=shown,
        alone=f"no worker serves {higher}" if alone and higher else "",
    )
    if going_on:
        _hand_on(ledger, job, task, claims, going_on, higher, started_at)
    late = _late(rows, [c for c in claims if (c.document_id, c.number) not in going_on])
    done = [c for c in claims if (c.document_id, c.number) not in going_on and c not in late]
    made = _commit(ledger, job, task, done, work, settings)
    log.info("batch done: %d of %d blocks accepted", made.accepted, len(claims))
    if not made.accepted:
        store.remove(stored.key)
    downstream = read + time.perf_counter() - worked
    return replace(
        made, handed_on=higher if going_on else "", late=late, failed=len(late), downstream_seconds=downstream
    )


def _late(rows: Sequence[Row], claims: Sequence[Claim]) -> list[Claim]:
    """The blocks for whose segments more might have been done, had there been time."""
    if deadline.left():
        return []
    bad = {row.of_block for row in rows if not row.known and (not row.model or checks.failed(row.checks))}
    return [c for c in claims if (c.document_id, c.number) in bad]


def _going_on(rows: Sequence[Row], low: Sequence[int], tier: str) -> dict[tuple[str, int], str]:
    """The blocks with segments that must go on to a tier of another pool, and why."""
    segments, going = Counter(row.of_block for row in rows), Counter(rows[n].of_block for n in low)
    return {
        name: f"{count} of {segments[name]} segments are not good enough and wait for {tier}"
        for name, count in going.items()
    }


def _hand_on(
    ledger: Ledger,
    job: UUID,
    task: Batch,
    claims: Sequence[Claim],
    going_on: Mapping[tuple[str, int], str],
    tier: str,
    started_at: datetime,
) -> Attempt:
    """Let blocks wait for a tier of another pool."""
    reasons = [(c, going_on[c.document_id, c.number]) for c in claims if (c.document_id, c.number) in going_on]
    number = pools.batch_of(task.batch, tier)
    with ledger.transaction(task.request_id) as tx:
        tx.run("add_tier_batch", job_id=job, batch=task.batch, number=number, tier=tier)
        tx.run(
            "wait_for_tier",
            job_id=job,
            number=number,
            processing_at=started_at,
            block_ids=[c.block_id for c, _ in reasons],
            tokens=[c.token for c, _ in reasons],
            reasons=[reason for _, reason in reasons],
        )
        ((left,),) = tx.tuples("to_come", job_id=job, batch=task.batch)
    return Attempt(0, left, tier)


def _read(store: Store, task: Batch, claims: Sequence[Claim]) -> list[Segment]:
    """Every segment of the claimed blocks, in order."""
    held = {(c.document_id, c.number) for c in claims}
    columns = ["document_id", "block", "source"]
    table = tables.read_group(store, task.part, task.row_group, columns=columns)
    rows = zip(*(table.column(c).to_pylist() for c in columns), strict=True)
    return [Segment(*row) for row in rows if (row[0], row[1]) in held]


def _table(rows: Sequence[Row], claims: Sequence[Claim], task: Batch) -> pa.Table:
    names = [f.name for f in fields(Row) if f.name != "checks"]
    columns: dict[str, list[object]] = {name: [getattr(row, name) for row in rows] for name in names}
    ids = {(c.document_id, c.number): str(c.block_id) for c in claims}
    columns["source_language"] = [task.source] * len(rows)
    columns["block_id"] = [ids[row.of_block] for row in rows]
    columns |= {name: [getattr(row.checks, name) for row in rows] for name in asdict(rows[0].checks)}
    return pa.table(columns)


@dataclass(frozen=True, slots=True)
class _Work:
    """What an attempt made."""

    rows: Sequence[Row]
    keys: Sequence[bytes]
    plan: Plan
    stored: StoredObject
    started_at: datetime
    climbed_at: datetime
    """When the first segments went on to a higher tier, where any did."""
    seconds: float
    health: Mapping[str, str | None]
    """Models that were used, with why they failed."""
    spent: Sequence[Spent]
    disturbed: bool
    """Not every model was at hand."""
    shown: Shown | None
    """What a rollout's candidate and the incumbent did in it, where one runs."""
    alone: str = ""
    """Why it did without the tiers of other pools; empty: it did not have to."""


def _commit(
    ledger: Ledger, job: UUID, task: Batch, claims: Sequence[Claim], work: _Work, settings: Settings
) -> Attempt:
    """Make the results current, in one transaction; a block whose token is stale is left out, the others count."""
    of_block: dict[tuple[str, int], list[Row]] = {}
    for row in work.rows:
        of_block.setdefault(row.of_block, []).append(row)
    characters = {name: sum(len(r.source) for r in own if not r.known) for name, own in of_block.items()}
    names = [(c.document_id, c.number) for c in claims]
    own_seconds = _seconds(work, names)
    tiers = [Counter(r.tier for r in of_block[name]).most_common(1)[0][0] for name in names]
    results = {
        "block_ids": [c.block_id for c in claims],
        "tokens": [c.token for c in claims],
        "models": [",".join(sorted({r.model for r in of_block[name]})) for name in names],
        "tiers": tiers,
        "scores": [_mean_score(of_block[name]) for name in names],
        "seconds": own_seconds,
        "costs": [s * settings.cpu_price_per_hour / 3600 for s in own_seconds],
        "reasons": [_said(work, of_block, name) for name in names],
    }
    climbed = [_climbed(of_block[name], work.plan) for name in names]
    worth = _worth_knowing(work)
    with ledger.pipeline(task.request_id) as tx:
        if any(climbed):
            climbing = {"block_ids": results["block_ids"], "tokens": results["tokens"], "reasons": climbed}
            climbing |= {"job_id": job, "climbed_at": work.climbed_at}
            tx.send("judge_first", **climbing, processing_at=work.started_at)
            tx.send("climb", **climbing)
        accepted = tx.tuples("finish", job_id=job, processing_at=work.started_at, result=work.stored.key, **results)
        if accepted:
            objects.add(tx, job, work.stored)
        current = {block_id for (block_id,) in accepted}
        fresh = {name for name, c in zip(names, claims, strict=True) if c.block_id in current}
        if len(accepted) < len(claims):
            _report_stale(tx, job, task, len(claims) - len(accepted))
        worth = {key: row for key, row in worth.items() if work.rows[row].of_block in fresh}
        if worth:
            known = {"keys": list(worth), "rows": list(worth.values())}
            tx.send("add_known", job_id=job, object_key=work.stored.key, **known)
        left = tx.send("to_come", job_id=job, batch=task.batch)
        # rows that all workers share come last: they are locked for the shortest time
        note_health(tx, work.health, settings)
        add_spending(tx, job, work.spent, settings, work.rows)
        if work.shown:
            seen = work.shown.evidence(fresh, settings.cpu_price_per_hour)
            evidence.write(tx, job, work.shown.trial.rollout, seen)
        done = sum(characters[name] for name in fresh)
        tx.send("count_throughput", blocks=len(accepted), characters=done)
        took = zip(names, tiers, own_seconds, strict=True)
        count_latencies(tx, ((tier, seconds) for name, tier, seconds in took if name in fresh))
    ((count,),) = left.fetchall()
    return Attempt(len(accepted), count)


def _seconds(work: _Work, names: Sequence[tuple[str, int]]) -> list[float]:
    """Each block's share of the attempt's time."""
    parts = weights(work.rows, work.plan)
    of_block: dict[tuple[str, int], float] = {}
    for row, weight in zip(work.rows, parts, strict=True):
        of_block[row.of_block] = of_block.get(row.of_block, 0.0) + weight
    share = work.seconds / (sum(parts) or 1.0)
    return [of_block[name] * share for name in names]


def _climbed(rows: Sequence[Row], plan: Plan) -> str:
    """Why a block went on to a higher tier; empty: it did not."""
    own = [row for row in rows if row.climbed_from]
    if not own:
        return ""
    tiers = ", ".join(sorted({row.tier for row in own}))
    return f"{len(own)} of {len(rows)} segments scored under {plan.climb_below:g} and climbed to {tiers}"


def _said(work: _Work, of_block: Mapping[tuple[str, int], Sequence[Row]], name: tuple[str, int]) -> str:
    """What is to be said of how a block was made; empty: nothing."""
    both = (work.shown.said(name) if work.shown else "", _stayed(of_block[name], work.alone))
    return "; ".join(said for said in both if said)


def _stayed(rows: Sequence[Row], alone: str) -> str:
    """What a block did without; empty: nothing."""
    own = sum(row.stayed for row in rows)
    return (
        f"{own} of {len(rows)} segments scored low and did not climb: {alone or 'the budget is spent'}" if own else ""
    )


def add_spending(
    tx: Transaction, job: UUID, spent: Sequence[Spent], settings: Settings, rows: Sequence[Row] = ()
) -> None:
    """Put what each route took, rejected attempts included, on the account of a job."""
    if not spent:
        return
    climbed = Counter(row.model for row in rows if row.climbed_from)
    stayed = Counter(row.model for row in rows if row.stayed)
    tx.send(
        "add_spending",
        job_id=job,
        tiers=[each.tier for each in spent],
        models=[each.models for each in spent],
        texts=[each.texts for each in spent],
        characters=[each.characters for each in spent],
        climbed=[climbed[each.models] for each in spent],
        stayed=[stayed[each.models] for each in spent],
        seconds=[each.seconds for each in spent],
        costs=[each.seconds * settings.cpu_price_per_hour / 3600 for each in spent],
    )


def _worth_knowing(work: _Work) -> dict[bytes, int]:
    """Segments to know from now on, with their rows: what would be made of them another time too."""
    first = "+".join(m.identity for m in work.plan.routes[0])
    enough = work.plan.climb_below if len(work.plan.rungs) > 1 else 0.0
    return {
        key: place
        for place, (row, key) in enumerate(zip(work.rows, work.keys, strict=True))
        if not row.known
        and not row.stayed
        and not checks.failed(row.checks)
        and (not work.disturbed or (row.model == first and row.checks.score >= enough))
    }


def _report_stale(tx: Transaction, job: UUID, task: Batch, count: int) -> None:
    reason = f"results of {count} blocks were refused: another worker had taken them over"
    report(tx, IncidentKind.STALE_RESULT, reason, job_id=job, entity="batch", entity_id=str(task.batch))


def note_health(tx: Transaction, health: Mapping[str, str | None], settings: Settings) -> int:
    """Close the circuits of models that have worked, and count the failures of those that have not.

    How often the most tried circuit of theirs was tried in vain, 0 where none is open: while it is, the fault is the
    model's, and not that of the blocks it was given.
    """
    limits = circuit_limits(settings)
    failures = [(circuits.of_model(m), failure) for m, failure in health.items() if failure is not None]
    if failures:
        circuits.lock(tx, [circuits.STORE, *map(circuits.of_model, health)])
    circuits.well(tx, [circuits.STORE, *(circuits.of_model(m) for m, failure in health.items() if failure is None)])
    return max([circuits.failed(tx, name, failure, limits) for name, failure in sorted(failures)], default=0)


def circuit_limits(settings: Settings) -> circuits.Limits:
    """When circuits open, and for how long."""
    return circuits.Limits(settings.circuit_failures, settings.circuit_seconds)


def noted_health() -> dict[str, str | None]:
    """How the models of this thread did in an attempt that failed."""
    return engines().noted()


def _mean_score(rows: Sequence[Row]) -> float:
    """Mean of the segments' scores, weighted by length."""
    return sum(r.checks.score * len(r.source) for r in rows) / sum(len(r.source) for r in rows)
