"""Translating a batch: each text by the first route whose output is good, with repairs before the next route."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from tradu.errors import ModelError, RequestError, ResourceError, UnwantedError
from tradu.inference import clauses, codes, deadline
from tradu.inference.made import Likelihood, Made, joined, together
from tradu.inference.model import Engine, Model, Route
from tradu.inference.pool import EnginePool
from tradu.inference.routes import cost_of, is_higher, tier_of

log = logging.getLogger(__name__)
SINGLE_FAILURES = 3
"""So many texts failing one by one, and none translated, mean that the engine is broken, not the texts."""
CLAUSE_CHARS = 80
ENGINE_FAILED = "engine failed"
_LATE = f"{ENGINE_FAILED}: {deadline.OVER}"

_NUMBER = re.compile(r"\d+(?:[.,:/'’-]\d+|[  \u202f]\d{3}\b)*(?:\s?[%‰°])?")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is thought of a translation."""

    reasons: tuple[str, ...]
    """Why it is bad; empty: it is good."""
    score: float = 1.0
    """How good it is held to be, 0 to 1."""
    seen: Any = None
    """What that rests on; handed on as it is."""


Judge = Callable[[str, Made, str], Verdict]
"""Judges a translation (second) of a source (first), made by a route of this tier (third)."""


@dataclass(frozen=True, slots=True)
class Climb:
    """When a text goes on to a higher tier although nothing is wrong with its translation."""

    below: float = 0.0
    """Where its score is lower than this."""
    allowance: Callable[[], float] = lambda: math.inf
    """CPU seconds that higher tiers may still take; asked once for each of them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The best translation of a text that was found."""

    text: str
    models: tuple[str, ...]
    """Identities of the models of the route, in order; empty where every engine failed."""
    tier: str
    """That of the route's weakest model; empty where every engine failed."""
    reasons: tuple[str, ...]
    """What is still wrong with it; empty: it is good."""
    attempts: int
    """Translations made, repairs included."""
    unknown: tuple[str, ...] = ()
    """Words the engine did not know and left as they were, where it can say so."""
    likelihood: Likelihood | None = None
    """How probable the route's models found it, all their tokens together; None where one of them can't say."""
    score: float = 0.0
    """The judge's; 0 where every engine failed."""
    seen: Any = None
    """What the judge's verdict rests on; None where every engine failed."""
    climbed_from: str = ""
    """The tier whose translation scored too low; empty: it did not climb."""
    first_score: float | None = None
    """The score that it climbed with, or stayed with; None: it was high enough."""
    stayed: bool = False
    """It should have climbed, and there was no allowance for it."""


@runtime_checkable
class SaysMore(Protocol):
    """An engine that can say more about its translations: words it did not know, how probable it finds them."""

    def translate_with_evidence(self, texts: Sequence[str]) -> list[Made]:
        """Each translation with what the engine knows about it; the texts are those of `translate`."""
        ...


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What a route made of a text, or why it made nothing."""

    made: Made
    failure: str = ""

    @property
    def text(self) -> str:
        """The translation, or the text that broke the engine."""
        return self.made.text


def translate(
    texts: Sequence[str],
    routes: Sequence[Route],
    judge: Judge,
    engines: EnginePool,
    climb: Climb = Climb(),
    begun: Mapping[str, Outcome] | None = None,
) -> list[Outcome]:
    """Translate texts, each by itself: duplicates once, bad output again by a repair, then by the next route.

    Where nothing is good the attempt with the fewest reasons stands, an earlier one before a later. A text that breaks
    every engine, or that there was no time for, comes back untranslated, with the reason `engine failed: ...`. A good
    translation with a low score climbs to the next route of a higher tier; what that makes of it stands, unless
    something is wrong with it. `begun`: what routes before these have made of the texts.

    Raises:
        ModelError: no route translated any of the texts.
        RequestError: there are no routes.
        ResourceError: an engine ran out of memory.
        UnwantedError: nobody wants it any more.
    """
    if not routes:
        raise RequestError("nothing can be translated without a route")
    best = dict(begun or {})
    for route in routes:
        climbing = _climbing(best, route, climb)
        for repair in (_as_it_is, _numbers_kept, _by_clauses):
            waiting = [t for t in dict.fromkeys(texts) if t not in best or best[t].reasons or t in climbing]
            variants = {t: v for t in waiting if (v := repair(t, _reasons_of(best.get(t), route))) is not None}
            for text, attempt in _attempts(variants, route, engines).items():
                outcome = _outcome(text, attempt, route, judge)
                if text in climbing:
                    climbing.discard(text)
                    best[text] = _higher(best[text], outcome)
                else:
                    best[text] = _better(best.get(text), outcome)
    deadline.check()
    if texts and not any(outcome.models for outcome in best.values()):
        raise ModelError(next(iter(best.values())).reasons[0])
    return [best[text] for text in texts]


def _climbing(best: dict[str, Outcome], route: Route, climb: Climb) -> set[str]:
    """The texts that climb to a route: those with the lowest scores first, as far as the allowance goes."""
    low = sorted(
        (outcome.score, text)
        for text, outcome in best.items()
        if not outcome.reasons and outcome.score < climb.below and is_higher(tier_of(route), outcome.tier)
    )
    left = climb.allowance() if low else 0.0
    chosen = set()
    for score, text in low:
        left -= len(text) / 1e6 * cost_of(route)
        if left >= 0:
            chosen.add(text)
        else:
            best[text] = replace(best[text], stayed=True, first_score=score)
    return chosen


@dataclass(frozen=True, slots=True)
class _Variant:
    """A text cut into what goes to the engine, and what its protected codes stand for."""

    parts: tuple[str, ...]
    spelt: dict[str, str]


def _reasons_of(outcome: Outcome | None, route: Route) -> tuple[str, ...] | None:
    """What this route's own attempt left wrong; None: it made none yet."""
    if outcome is None or outcome.models != tuple(m.identity for m in route):
        return None
    return outcome.reasons


def _as_it_is(text: str, reasons: tuple[str, ...] | None) -> _Variant | None:
    return _Variant((text,), {}) if reasons is None else None


def _numbers_kept(text: str, reasons: tuple[str, ...] | None) -> _Variant | None:
    """Numbers carried as codes, which no engine changes."""
    if not any("number" in reason for reason in reasons or ()):
        return None
    protected, spelt = codes.protect(text, _NUMBER)
    return _Variant((protected,), spelt) if spelt else None


def _by_clauses(text: str, reasons: tuple[str, ...] | None) -> _Variant | None:
    """Short pieces, in which an engine can't lose its way."""
    if not reasons or len(text) <= CLAUSE_CHARS:
        return None
    return _Variant(tuple(clauses.cut(text, CLAUSE_CHARS)), {})


def _attempts(variants: dict[str, _Variant], route: Route, engines: EnginePool) -> dict[str, _Attempt]:
    """One attempt at each text by a route, leg by leg."""
    started = time.perf_counter()
    flat = list(dict.fromkeys(part for variant in variants.values() for part in variant.parts))
    made = {part: _Attempt(Made(part)) for part in flat}
    try:
        for leg, model in enumerate(route):
            alive = [part for part in flat if not made[part].failure]
            results = _leg([made[part].text for part in alive], model, engines)
            for part, result in zip(alive, results, strict=True):
                made[part] = _after(made[part], result) if leg else result
    finally:
        if flat:
            engines.spend(route, flat, time.perf_counter() - started)
    return {text: _joined([made[p] for p in variant.parts], variant) for text, variant in variants.items()}


def _after(before: _Attempt, after: _Attempt) -> _Attempt:
    """A leg's result, with the evidence of the legs before it; a leg that can't say leaves all in doubt."""
    first, second = before.made, after.made
    every = first.likelihood is not None and second.likelihood is not None
    likelihood = together([first.likelihood, second.likelihood]) if every else None
    return _Attempt(Made(second.text, first.unknown + second.unknown, likelihood), after.failure)


def _joined(parts: Sequence[_Attempt], variant: _Variant) -> _Attempt:
    failure = next((part.failure for part in parts if part.failure), "")
    text = codes.restore("".join(part.text for part in parts), variant.spelt)
    return _Attempt(joined(text, [part.made for part in parts]), failure)


def _leg(texts: Sequence[str], model: Model, engines: EnginePool) -> list[_Attempt]:
    """Translate with one model; texts that break the engine are found by halving, and their neighbours translated.

    A batch that is too large for the memory is halved too, until it fits; the next ones begin with what fitted. When
    the time is over (`tradu.inference.deadline`) what is left is not tried: the model is not to blame for it.

    Raises:
        ResourceError: a single text is too large for the memory.
        UnwantedError: nobody wants it any more.
    """
    made: list[_Attempt] = []
    failed = 0
    groups = engines.sizes.cut(texts, model)[::-1]
    while groups:
        deadline.check()
        group = groups.pop()
        if not deadline.left():
            made += [_Attempt(Made(text), _LATE) for text in group]
            continue
        half, characters = len(group) // 2, sum(map(len, group))
        try:
            results = _run(group, model, engines)
            failed += sum(bool(result.failure) for result in results)
            made += results
            engines.sizes.fitted(model, characters)
        except ResourceError as error:
            engines.sizes.failed(model, characters)
            if len(group) == 1:
                raise
            log.warning("%s; going on with %d at once", error, half)
            groups += [group[half:], group[:half]]
        except ModelError as error:
            if len(group) == 1 or (failed >= SINGLE_FAILURES and failed == len(made)):
                failed += len(group)
                made += [_Attempt(Made(text), f"{ENGINE_FAILED}: {error}") for text in group]
            else:
                groups += [group[half:], group[:half]]
    if tried := [each for each in made if each.failure != _LATE]:
        engines.note(model, tried[0].failure if all(each.failure for each in tried) else None)
    return made


def _run(texts: Sequence[str], model: Model, engines: EnginePool) -> list[_Attempt]:
    """One call of an engine.

    Raises:
        ModelError: it failed, in whatever way; it is closed, and loaded anew for the next call.
        ResourceError: not enough memory.
        UnwantedError: nobody wants it any more.
    """
    try:
        with engines.using(model) as engine:
            results = _results(engine, texts)
    except (ResourceError, UnwantedError):
        raise
    except MemoryError as error:
        engines.discard(model)
        raise ResourceError(f"{model.name}: out of memory on {len(texts)} texts") from error
    except Exception as error:
        engines.discard(model)
        if isinstance(error, ModelError):
            raise
        # what others say may quote the texts, and this goes into the ledger
        log.warning("%s failed", model.name, exc_info=True)
        raise ModelError(f"{model.name}: {type(error).__name__}; the worker's log says more") from error
    if len(results) != len(texts):
        engines.discard(model)
        raise ModelError(f"{model.name} gave {len(results)} translations for {len(texts)} texts")
    return results


def _results(engine: Engine, texts: Sequence[str]) -> list[_Attempt]:
    if isinstance(engine, SaysMore):
        return [
            _Attempt(made, f"{ENGINE_FAILED}: {made.failure}" if made.failure else "")
            for made in engine.translate_with_evidence(texts)
        ]
    return [_Attempt(Made(text)) for text in engine.translate(texts)]


def _outcome(source: str, attempt: _Attempt, route: Route, judge: Judge) -> Outcome:
    if attempt.failure:
        return Outcome(source, (), "", (attempt.failure,), 1)
    identities, made, tier = tuple(model.identity for model in route), attempt.made, tier_of(route)
    said = judge(source, made, tier)
    return Outcome(made.text, identities, tier, said.reasons, 1, made.unknown, made.likelihood, said.score, said.seen)


def _higher(before: Outcome, after: Outcome) -> Outcome:
    """What a higher tier made, where nothing is wrong with it."""
    attempts = before.attempts + after.attempts
    if after.reasons:
        return replace(before, attempts=attempts, first_score=before.score)
    return replace(after, attempts=attempts, climbed_from=before.tier, first_score=before.score)


def _better(before: Outcome | None, after: Outcome) -> Outcome:
    """The one with fewer reasons, a translation always before a failure; attempts are summed."""
    if before is None:
        return after
    attempts = before.attempts + after.attempts
    worse = (not after.models, len(after.reasons)) >= (not before.models, len(before.reasons))
    return replace(before if worse else after, attempts=attempts)
