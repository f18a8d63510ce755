"""One attempt at a batch: read its segments, translate and check them, write the results, make them current."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from uuid import UUID

import pyarrow as pa

from tradu import layout, tables
from tradu.errors import CircuitOpenError, DamagedError
from tradu.inference.model import Route
from tradu.inference.pool import EnginePool
from tradu.inference.registry import Registry, load_registry
from tradu.inference.translate import Outcome, translate
from tradu.ledger import circuits, objects
from tradu.ledger.connection import Ledger, Transaction
from tradu.ledger.incidents import IncidentKind, report
from tradu.ledger.rows import Batch, Claim
from tradu.quality import checks
from tradu.quality.estimation import Support
from tradu.settings import Settings, get_settings
from tradu.store import Store, StoredObject

log = logging.getLogger(__name__)
RECIPE = "2"
"""Raised when what surrounds the models changes (masks, typography, repairs) or what is kept of their work: what was
known is then made anew."""
_MEMORY = "memory"
_RULE_BASED = "economy"
"""The tier of the rule-based engines, whose translations are scored by a calibration of their own."""
_KNOWN = ("source", "translation", "model", "tier", "unknown_words", "log_probability", "lowest_log_probability")
"""What is read of a known translation: with it, it gets the score that it had."""
_warm = threading.local()


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of an attempt: blocks the ledger accepted, and blocks of the batch that still want a translation."""

    accepted: int
    left: int


@dataclass(frozen=True, slots=True)
class _Row:
    """A segment with its translation."""

    document_id: str
    block: int
    source: str
    translation: str
    model: str
    tier: str
    known: bool
    checks: checks.TranslationChecks

    @property
    def of_block(self) -> tuple[str, int]:
        """What its block is called in the batch: document and number."""
        return self.document_id, self.block


def routes_of(task: Batch) -> Sequence[Route]:
    """The routes that may translate a batch, the preferred one first.

    Raises:
        RequestError: no installed model leads from the source to the target language.
    """
    return registry().routes(task.source, task.target, task.profile)


def open_routes(routes: Sequence[Route], shut: Collection[str]) -> list[Route]:
    """The routes of which no model's circuit is shut."""
    return [route for route in routes if not any(circuits.of_model(m.identity) in shut for m in route)]


def attempt(
    ledger: Ledger, job: UUID, task: Batch, claims: Sequence[Claim], shut: Collection[str], settings: Settings
) -> Attempt:
    """Bring claimed blocks of a batch to a result.

    Raises:
        RequestError: no installed model leads from the source to the target language.
        CircuitOpenError: the circuits of all models that do are open.
        ModelError: no model could translate any of it.
    """
    started_at, started = datetime.now(UTC), time.perf_counter()
    store = Store(settings.store)
    segments = _read(store, task, claims)
    routes = routes_of(task)
    usable = open_routes(routes, shut)
    if not usable:
        raise CircuitOpenError(f"no model for {task.source} to {task.target} works: their circuits are open")
    keys = [segment_key(source, task.source, task.target, routes) for _, _, source in segments]
    known = _known(ledger, store, task, keys, [source for _, _, source in segments])
    rows = _translate(segments, keys, known, usable, task)
    health = _engines().noted()
    stored = tables.write(store, layout.result_key(job, task.batch, min(c.token for c in claims)), _table(rows, claims))
    # what a stand-in made is not what the models at hand would make another time: it is not kept for later
    disturbed = len(usable) < len(routes) or any(health.values())
    lasting = "+".join(m.identity for m in routes[0]) if disturbed else None
    work = _Work(rows, keys, stored, started_at, time.perf_counter() - started, health, lasting)
    made = _commit(ledger, job, task, claims, work, settings)
    log.info("batch done: %d of %d blocks accepted", made.accepted, len(claims))
    if not made.accepted:
        store.remove(stored.key)
    return made


def _read(store: Store, task: Batch, claims: Sequence[Claim]) -> list[tuple[str, int, str]]:
    """(document, block, source) of every segment of the claimed blocks, in order."""
    held = {(c.document_id, c.number) for c in claims}
    columns = ["document_id", "block", "source"]
    table = tables.read_group(store, task.part, task.row_group, columns=columns)
    rows = zip(*(table.column(c).to_pylist() for c in columns), strict=True)
    return [row for row in rows if (row[0], row[1]) in held]


def segment_key(source: str, language: str, target: str, routes: Sequence[Route]) -> bytes:
    """What a translation is known by: the text, the languages, the recipe, and every model that might have made it."""
    models = "|".join("+".join(model.identity for model in route) for route in routes)
    return hashlib.blake2b("\0".join((RECIPE, language, target, models, source)).encode(), digest_size=16).digest()


def _known(
    ledger: Ledger, store: Store, task: Batch, keys: Sequence[bytes], sources: Sequence[str]
) -> dict[bytes, _Row]:
    """Translations that earlier batches or jobs made with the same models, read where they lie in the store."""
    places = ledger.tuples("find_known", keys=list(set(keys)))
    text = dict(zip(keys, sources, strict=True))
    found: dict[bytes, _Row] = {}
    for object_key, group in groupby(sorted(places, key=lambda p: p[1]), key=lambda p: p[1]):
        try:
            table = _results(store.uri, object_key)
        except (OSError, DamagedError, pa.ArrowInvalid) as error:
            # removed, damaged, or of an older version: translated again
            log.warning("known translations in %s can't be used: %s", object_key, str(error).partition("\n")[0])
            continue
        for key, _, row in group:
            source, translation, model, tier, unknown, mean, lowest = (table.column(c)[row].as_py() for c in _KNOWN)
            support = Support(mean, lowest, rule_based=tier == _RULE_BASED)
            judged = checks.check_translation(
                text[key], translation, task.source, task.target, unknown_words=unknown, support=support
            )
            if source == text[key] and not checks.failed(judged):
                found[key] = _Row("", 0, source, translation, model, _MEMORY, True, judged)
    return found


@lru_cache(maxsize=32)
def _results(store_uri: str, key: str) -> pa.Table:
    """The texts of a results object; the last ones stay, since repeated sentences come from few objects."""
    return tables.read(Store(store_uri), key, columns=list(_KNOWN))


@lru_cache(maxsize=1)
def registry() -> Registry:
    """Models and profiles, read once."""
    return load_registry(get_settings())


def _engines() -> EnginePool:
    """Engines of this thread, loaded once and kept."""
    if not hasattr(_warm, "engines"):
        _warm.engines = EnginePool()
    engines: EnginePool = _warm.engines
    return engines


def _translate(
    segments: Sequence[tuple[str, int, str]],
    keys: Sequence[bytes],
    known: dict[bytes, _Row],
    routes: Sequence[Route],
    task: Batch,
) -> list[_Row]:
    unknown = list(
        {key: source for (_, _, source), key in zip(segments, keys, strict=True) if key not in known}.items()
    )
    judge = checks.judge(task.source, task.target)
    outcomes = translate([source for _, source in unknown], routes, judge, _engines())
    made = {key: outcome for (key, _), outcome in zip(unknown, outcomes, strict=True)}
    rows = []
    for (document_id, block, source), key in zip(segments, keys, strict=True):
        if (row := known.get(key)) is not None:
            rows.append(_Row(document_id, block, source, row.translation, row.model, _MEMORY, True, row.checks))
        else:
            outcome = made[key]
            judged = checks.check_translation(
                source,
                outcome.text,
                task.source,
                task.target,
                unknown_words=len(outcome.unknown),
                support=_support(outcome),
            )
            model = "+".join(outcome.models)
            rows.append(_Row(document_id, block, source, outcome.text, model, outcome.tier, False, judged))
    return rows


def _support(outcome: Outcome) -> Support:
    """What the models that made a translation say about it."""
    said = outcome.likelihood
    rule_based = outcome.tier == _RULE_BASED
    if said is None:
        return Support(rule_based=rule_based)
    return Support(said.log_probability, said.lowest, rule_based=rule_based)


def _table(rows: Sequence[_Row], claims: Sequence[Claim]) -> pa.Table:
    names = ("document_id", "block", "source", "translation", "model", "tier", "known")
    columns: dict[str, list[object]] = {name: [getattr(row, name) for row in rows] for name in names}
    ids = {(c.document_id, c.number): str(c.block_id) for c in claims}
    columns["block_id"] = [ids[row.document_id, row.block] for row in rows]
    columns |= {name: [getattr(row.checks, name) for row in rows] for name in asdict(rows[0].checks)}
    return pa.table(columns)


@dataclass(frozen=True, slots=True)
class _Work:
    """What an attempt made."""

    rows: Sequence[_Row]
    keys: Sequence[bytes]
    stored: StoredObject
    started_at: datetime
    seconds: float
    health: Mapping[str, str | None]
    """Models that were used, with why they failed."""
    lasting: str | None
    """The models of which alone translations are kept for later; None: of all."""


def _commit(
    ledger: Ledger, job: UUID, task: Batch, claims: Sequence[Claim], work: _Work, settings: Settings
) -> Attempt:
    """Make the results current, in one transaction; a block whose token is stale is left out, the others count."""
    of_block: dict[tuple[str, int], list[_Row]] = {}
    for row in work.rows:
        of_block.setdefault(row.of_block, []).append(row)
    characters = {name: sum(len(r.source) for r in own if not r.known) for name, own in of_block.items()}
    share = work.seconds / max(1, sum(characters.values()))
    names = [(c.document_id, c.number) for c in claims]
    own_seconds = [characters[name] * share for name in names]
    results = {
        "block_ids": [c.block_id for c in claims],
        "tokens": [c.token for c in claims],
        "models": [",".join(sorted({r.model for r in of_block[name]})) for name in names],
        "tiers": [Counter(r.tier for r in of_block[name]).most_common(1)[0][0] for name in names],
        "scores": [_mean_score(of_block[name]) for name in names],
        "seconds": own_seconds,
        "costs": [s * settings.cpu_price_per_hour / 3600 for s in own_seconds],
    }
    worth = _worth_knowing(work)
    with ledger.pipeline(task.request_id) as tx:
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
        done = sum(characters[name] for name in fresh)
        tx.send("count_throughput", blocks=len(accepted), characters=done)
    ((count,),) = left.fetchall()
    return Attempt(len(accepted), count)


def _worth_knowing(work: _Work) -> dict[bytes, int]:
    """Segments to know from now on, with their rows: passed by the checks, and made by models that last."""
    return {
        key: place
        for place, (row, key) in enumerate(zip(work.rows, work.keys, strict=True))
        if not row.known and not checks.failed(row.checks) and work.lasting in (None, row.model)
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
    circuits.well(tx, [circuits.STORE, *(circuits.of_model(m) for m, failure in health.items() if failure is None)])
    failures = [(circuits.of_model(m), failure) for m, failure in health.items() if failure is not None]
    return max([circuits.failed(tx, name, failure, limits) for name, failure in sorted(failures)], default=0)


def circuit_limits(settings: Settings) -> circuits.Limits:
    """When circuits open, and for how long."""
    return circuits.Limits(settings.circuit_failures, settings.circuit_seconds)


def noted_health() -> dict[str, str | None]:
    """How the models of this thread did in an attempt that failed."""
    return _engines().noted()


def _mean_score(rows: Sequence[_Row]) -> float:
    """Mean of the segments' scores, weighted by length."""
    return sum(r.checks.score * len(r.source) for r in rows) / sum(len(r.source) for r in rows)
