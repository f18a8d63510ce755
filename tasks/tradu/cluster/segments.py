"""From segments of claimed blocks to rows of results: known already, or translated, higher where the score is low."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import pyarrow as pa

from tradu import policies, tables
from tradu.errors import DamagedError, RequestError, SystemicError
from tradu.inference.cascade import Plan
from tradu.inference.made import Made
from tradu.inference.model import Model, Route
from tradu.inference.pool import EnginePool
from tradu.inference.registry import Registry, load_registry
from tradu.inference.routes import TIERS, cost_of, tier_of
from tradu.inference.translate import Climb, Judge, Outcome, Verdict, translate
from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Batch
from tradu.quality import checks, estimation
from tradu.quality.estimation import Support
from tradu.settings import get_settings
from tradu.store import Store

log = logging.getLogger(__name__)
RECIPE = "3"
"""Raised when what surrounds the models changes (masks, typography, repairs) or what is kept of their work: what was
known is then made anew."""
_MEMORY = "memory"
_RULE_BASED = "economy"
"""The tier of the rule-based engines, whose translations are scored by a calibration of their own."""
_KNOWN = ("source", "translation", "model", "tier", "unknown_words", "log_probability", "lowest_log_probability")
"""What is read of a known translation: with it, it gets the score that it had."""
LOOK_AGAIN_SECONDS = 60.0
"""After so long a registry is read again in which a model could not be looked at."""
_engines = EnginePool()


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of a claimed block."""

    document_id: str
    block: int
    source: str

    @property
    def of_block(self) -> tuple[str, int]:
        """What its block is called in the batch: document and number."""
        return self.document_id, self.block


@dataclass(frozen=True, slots=True)
class Row:
    """A segment with its translation."""

    document_id: str
    block: int
    source: str
    translation: str
    model: str
    tier: str
    known: bool
    checks: checks.TranslationChecks
    climbed_from: str = ""
    """The tier whose translation scored too low."""
    first_score: float | None = None
    """The score of that; None where it was high enough."""
    stayed: bool = False
    """It should have climbed, and the budget was spent."""

    @property
    def of_block(self) -> tuple[str, int]:
        """What its block is called in the batch: document and number."""
        return self.document_id, self.block


def registry() -> Registry:
    """Models and profiles, read again when a file of theirs has changed; where that is wrong they stay as they were.

    Raises:
        SystemicError: the files are wrong, and were from the start: no block is to blame.
    """
    try:
        return _kept.get(get_settings())
    except RequestError as error:
        raise SystemicError(f"the registry can't be read: {error}") from error


_kept = policies.Kept(
    load_registry, "models", "profiles", good_for=lambda known: math.inf if known.is_whole else LOOK_AGAIN_SECONDS
)


def last_read() -> Registry | None:
    """The registry as this process knows it; nothing is read now."""
    return _kept.last


def model_of(identity: str) -> Model | None:
    """The installed model of this name and version."""
    known = registry()
    return next((m for m in known.models() if m.identity == identity and known.status(m).installed), None)


def plan_of(task: Batch) -> Plan:
    """How a batch is translated.

    Raises:
        RequestError: no installed model leads from the source to the target language.
        SystemicError: that can't be said now.
    """
    return registry().plan(task.source, task.target, task.profile)


def engines() -> EnginePool:
    """The engines of this process, loaded once and kept."""
    return _engines


def key_of(source: str, task: Batch, plan: Plan) -> bytes:
    """What a translation is known by: text, languages, recipe, the models that might have made it, and what decides."""
    models = "|".join("+".join(model.identity for model in route) for route in plan.routes)
    decides = f"{plan.climb_below}:{estimation.fingerprint()}" if len(plan.rungs) > 1 else ""
    whole = "\0".join((RECIPE, task.source, task.target, models, decides, source))
    return hashlib.blake2b(whole.encode(), digest_size=16).digest()


def known_of(
    ledger: Ledger, store: Store, task: Batch, keys: Sequence[bytes], segments: Sequence[Segment]
) -> dict[bytes, Row]:
    """Translations that earlier batches or jobs made in the same way, read where they lie in the store."""
    places = ledger.tuples("find_known", keys=list(set(keys)))
    text = {key: segment.source for key, segment in zip(keys, segments, strict=True)}
    found: dict[bytes, Row] = {}
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
                found[key] = Row("", 0, source, translation, model, _MEMORY, True, judged)
    return found


@lru_cache(maxsize=32)
def _results(store_uri: str, key: str) -> pa.Table:
    """The texts of a results object; the last ones stay, since repeated sentences come from few objects."""
    return tables.read(Store(store_uri), key, columns=list(_KNOWN))


def translated(
    ledger: Ledger,
    store: Store,
    task: Batch,
    segments: Sequence[Segment],
    plan: Plan,
    usable: Sequence[Route],
    climb: Climb,
) -> list[tuple[bytes, Row]]:
    """Key and row of each segment, in order: as known from before, or translated by the routes that can be used.

    Raises:
        ModelError: no route translated any of them.
    """
    keys = [key_of(segment.source, task, plan) for segment in segments]
    known = known_of(ledger, store, task, keys, segments)
    return list(zip(keys, rows_of(segments, keys, known, usable, task, climb), strict=True))


def rows_of(
    segments: Sequence[Segment],
    keys: Sequence[bytes],
    known: dict[bytes, Row],
    routes: Sequence[Route],
    task: Batch,
    climb: Climb,
) -> list[Row]:
    """A row for each segment, in order; each text that is not known is translated once."""
    unknown = texts_of(segments, keys, known)
    outcomes = translate(list(unknown.values()), routes, judge_of(task), engines(), climb)
    return rows_from(segments, keys, known, dict(zip(unknown, outcomes, strict=True)), task)


def texts_of(segments: Sequence[Segment], keys: Sequence[bytes], known: Mapping[bytes, Row]) -> dict[bytes, str]:
    """The texts that are not known, each once."""
    return {key: s.source for s, key in zip(segments, keys, strict=True) if key not in known}


def rows_from(
    segments: Sequence[Segment],
    keys: Sequence[bytes],
    known: Mapping[bytes, Row],
    made: Mapping[bytes, Outcome],
    task: Batch,
) -> list[Row]:
    """A row for each segment, in order, of what is known or was made of its text."""
    return [
        _known_row(segment, known[key]) if key in known else _row(segment, made[key], task)
        for segment, key in zip(segments, keys, strict=True)
    ]


def _known_row(segment: Segment, row: Row) -> Row:
    place = segment.document_id, segment.block, segment.source
    return Row(*place, row.translation, row.model, _MEMORY, True, row.checks)


def _row(segment: Segment, outcome: Outcome, task: Batch) -> Row:
    seen = outcome.seen or _check(task, segment.source, Made(outcome.text, outcome.unknown), outcome.tier)
    return Row(
        segment.document_id,
        segment.block,
        segment.source,
        outcome.text,
        "+".join(outcome.models),
        outcome.tier,
        False,
        seen,
        outcome.climbed_from,
        outcome.first_score,
        outcome.stayed,
    )


def judge_of(task: Batch) -> Judge:
    """Judges translations of a batch by the checks and the score."""

    def judge(source: str, made: Made, tier: str) -> Verdict:
        seen = _check(task, source, made, tier)
        return Verdict(checks.failed(seen), seen.score, seen)

    return judge


def _check(task: Batch, source: str, made: Made, tier: str) -> checks.TranslationChecks:
    said = made.likelihood
    mean, lowest = (said.log_probability, said.lowest) if said else (None, None)
    support = Support(mean, lowest, rule_based=tier == _RULE_BASED)
    return checks.check_translation(
        source, made.text, task.source, task.target, unknown_words=len(made.unknown), support=support
    )


def weights(rows: Sequence[Row], plan: Plan) -> list[float]:
    """What each row took in relation to the others: known ones nothing, climbed ones every rung that they saw."""
    costs = {tier_of(rung): max(cost_of(rung), 1e-9) for rung in plan.rungs}
    usual = costs[tier_of(plan.rungs[0])]
    return [0.0 if row.known else len(row.source) * _rungs(row, costs, usual) for row in rows]


def _rungs(row: Row, costs: dict[str, float], usual: float) -> float:
    if not row.climbed_from:
        return usual
    low, high = TIERS.index(row.climbed_from), TIERS.index(row.tier)
    return sum(cost for tier, cost in costs.items() if low <= TIERS.index(tier) <= high)
