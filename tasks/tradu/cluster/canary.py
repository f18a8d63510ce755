"""A candidate's part of a batch: some blocks are made by it and judged harder; what fails the incumbent makes.

Of a batch that a running rollout concerns, blocks on the candidate's side are translated by the candidate. What passes
checks of its own goes on as any block; the rest is translated by the incumbent in the same attempt. The blocks on the
control's side are translated by the incumbent in a call of their own, so that both sides are measured alike.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from tradu.cluster import evidence
from tradu.cluster.segments import (
    Row,
    Segment,
    engines,
    judge_of,
    key_of,
    known_of,
    model_of,
    rows_from,
    texts_of,
    translated,
)
from tradu.errors import ModelError, ResourceError
from tradu.inference.cascade import Plan, with_model_replaced
from tradu.inference.made import Likelihood
from tradu.inference.model import Model, Route
from tradu.inference.pool import Spent
from tradu.inference.scoring import SCORING, likelihoods
from tradu.inference.translate import Climb, translate
from tradu.ledger.connection import Ledger
from tradu.ledger.rollouts import Evidence, Rollout, RolloutState, Side
from tradu.ledger.rows import Batch, Claim
from tradu.quality import strict
from tradu.quality.strict import Judged
from tradu.rollouts.sides import position, side
from tradu.store import Store

log = logging.getLogger(__name__)
ENGINE = "engine"
AGAIN = "again"
"""What is wrong with a block that comes back for another attempt: the first may have been lost by the candidate."""
IMPROBABLE = "improbable"
FAILED = "failed its checks"
LEAST_PROBABLE, LEAST_PROBABLE_MEAN = -4.5, -3.0
"""How improbable, nats a token, the incumbent may find a segment, and a block, of the candidate's: made up text that
reads well is seen by nothing else. Of 400 sentences (en-pt) it gave its own translations -1.4 at the least, those of a
rule-based engine -2.6 in the middle, text that has nothing to do with the source -6.3 at the most, and translations of
other sentences -7.9 in the middle and -5.3 for the likeliest fiftieth."""

Name = tuple[str, int]
"""What a block is called in a batch: document and number."""
Pair = tuple[bytes, Row]
"""A segment's key and row."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A running rollout, as it concerns a batch."""

    rollout: Rollout
    incumbent: Model
    candidate: Model
    plan: Plan
    """The batch's, with the candidate in the incumbent's place."""

    @property
    def routes(self) -> tuple[Route, ...]:
        """What the candidate's side is translated with: as far as the first route in which the candidate has a part."""
        return self.plan.routes[: self._first + 1]

    @property
    def higher(self) -> tuple[Route, ...]:
        """Where what passed may climb to."""
        return self.plan.routes[self._first + 1 :]

    @property
    def _first(self) -> int:
        return next(n for n, route in enumerate(self.plan.routes) if self.candidate in route)


@dataclass(frozen=True, slots=True)
class Shown:
    """A batch that was translated in parts, and what that shows of both sides."""

    trial: Trial
    made: Sequence[Pair]
    """Of all segments, in order."""
    spent: Sequence[Spent]
    judged: Mapping[Side, Mapping[Name, Sequence[Row]]]
    """What the model of each side made of its blocks."""
    failed: Mapping[Side, Mapping[Name, tuple[str, ...]]]
    took: Mapping[Side, Sequence[Spent]]

    def said(self, name: Name) -> str:
        """Why a block of the candidate's side was made by the incumbent; empty: it was not."""
        wrong = self.failed[Side.CANDIDATE].get(name)
        if not wrong:
            return ""
        return f"{self.trial.candidate.identity} {FAILED} ({', '.join(wrong)}): made by {self.trial.incumbent.identity}"

    def evidence(self, names: Collection[Name], price_per_hour: float) -> dict[Side, Evidence]:
        """What the blocks of these names show."""
        found = {}
        for each in Side:
            judged, failed = self.judged[each], self.failed[each]
            own = [name for name in dict.fromkeys((*judged, *failed)) if name in names]
            found[each] = evidence.of_blocks(own, judged, failed, self.took[each], price_per_hour)
        return found


def applied(plan: Plan, in_effect: Iterable[Rollout]) -> tuple[Plan, Trial | None]:
    """A plan with what was promoted in its place, and the running rollout that concerns it, if any: the oldest."""
    trial = None
    for rollout in in_effect:
        incumbent = next((m for route in plan.routes for m in route if m.identity == rollout.incumbent), None)
        candidate = model_of(rollout.candidate) if incumbent else None
        if incumbent is None or candidate is None:  # another version, or not on this machine
            continue
        replaced = with_model_replaced(plan, incumbent.identity, candidate)
        if rollout.state == RolloutState.PROMOTED:
            plan = replaced
        elif trial is None:
            trial = Trial(rollout, incumbent, candidate, replaced)
    return plan, trial


def limited(trial: Trial, count: int) -> Trial | None:
    """A trial that goes no further than so many routes; None: its candidate has no part in them."""
    cut = replace(trial, plan=replace(trial.plan, routes=trial.plan.routes[:count]))
    return cut if any(trial.candidate in route for route in cut.plan.routes) else None


def in_parts(
    ledger: Ledger,
    store: Store,
    task: Batch,
    claims: Sequence[Claim],
    held: Sequence[Segment],
    plan: Plan,
    usable: Sequence[Route],
    climb: Climb,
    trial: Trial,
) -> Shown:
    """Translate a batch: the candidate's side, the control's, and the others with what the candidate failed.

    Raises:
        ModelError: the incumbent's routes translated nothing of a part.
    """
    side_of = _sides(trial, claims, task)
    again = {(claim.document_id, claim.number): (AGAIN,) for claim in claims if claim.attempt > 1}
    own = [name for name, its in side_of.items() if its is Side.CANDIDATE]
    failed: dict[Name, tuple[str, ...]] = {name: again[name] for name in own if name in again}
    first = [s for s in held if s.of_block in own and s.of_block not in failed]
    tried = _Tried({}, {}, {})
    if first:
        _load(trial.candidate)
        tried = _try_out(ledger, store, task, first, climb, trial)
    made, spent = dict(tried.made), {Side.CANDIDATE: engines().spent()}
    _load(trial.incumbent)
    of_control = [s for s in held if side_of.get(s.of_block) is Side.CONTROL]
    control = _by_block(translated(ledger, store, task, of_control, plan, usable, climb)) if of_control else {}
    spent[Side.CONTROL] = engines().spent()
    made |= control
    left = [s for s in held if s.of_block not in made]
    if left:
        made |= _by_block(translated(ledger, store, task, left, plan, usable, climb))
    judged = {name: [row for _, row in pairs] for name, pairs in control.items()}
    bad = {name: wrong for name, rows in judged.items() if (wrong := _faults(rows, task, trial, trial.incumbent))}
    return Shown(
        trial,
        [pair for name in dict.fromkeys(s.of_block for s in held) for pair in made[name]],
        evidence.together([*spent[Side.CANDIDATE], *spent[Side.CONTROL], *engines().spent()]),
        {Side.CANDIDATE: tried.judged, Side.CONTROL: judged},
        {Side.CANDIDATE: {**failed, **tried.failed}, Side.CONTROL: bad},
        {
            Side.CANDIDATE: evidence.spent_by(trial.candidate, spent[Side.CANDIDATE]),
            Side.CONTROL: evidence.spent_by(trial.incumbent, spent[Side.CONTROL]),
        },
    )


def _sides(trial: Trial, claims: Sequence[Claim], task: Batch) -> dict[Name, Side | None]:
    """The side of each block."""
    rollout = trial.rollout
    return {
        (c.document_id, c.number): side(
            position(rollout.rollout_id, c.document_id, c.number, task.target), rollout.share
        )
        for c in claims
    }


def _load(model: Model) -> None:
    """Load a model now, so that loading is not on the clock; why it can't be loaded is said when it is used."""
    with suppress(ModelError, ResourceError):
        engines().get(model)


@dataclass(frozen=True, slots=True)
class _Tried:
    """What became of the blocks that a candidate has tried."""

    made: Mapping[Name, Sequence[Pair]]
    """Of those that passed."""
    failed: Mapping[Name, tuple[str, ...]]
    """What is wrong with the others."""
    judged: Mapping[Name, Sequence[Row]]
    """What the candidate itself made."""


def _try_out(
    ledger: Ledger, store: Store, task: Batch, segments: Sequence[Segment], climb: Climb, trial: Trial
) -> _Tried:
    """Translate blocks with the candidate and judge them; what passes climbs like others where it scores low."""
    keys = [key_of(segment.source, task, trial.plan) for segment in segments]
    known = known_of(ledger, store, task, keys, segments)
    unknown = texts_of(segments, keys, known)
    try:
        outcomes = translate(list(unknown.values()), trial.routes, judge_of(task), engines(), climb)
    except (ModelError, ResourceError) as error:
        log.warning("the candidate failed: %s", error)
        return _Tried({}, {segment.of_block: (ENGINE,) for segment in segments}, {})
    made = dict(zip(unknown, outcomes, strict=True))
    pairs = _by_block(zip(keys, rows_from(segments, keys, known, made, task), strict=True))
    judged = {name: [row for _, row in each] for name, each in pairs.items()}
    improbable = _improbable(trial, [row for rows in judged.values() for row in rows])
    failed = {
        name: wrong
        for name, rows in judged.items()
        if (wrong := _faults(rows, task, trial, trial.candidate) + ((IMPROBABLE,) if name in improbable else ()))
    }
    passed = [(s, key) for s, key in zip(segments, keys, strict=True) if s.of_block not in failed]
    begun = {unknown[key]: made[key] for _, key in passed if key in unknown}
    if trial.higher and begun:
        ends = translate(list(begun), trial.higher, judge_of(task), engines(), climb, begun)
        after = dict(zip(begun, ends, strict=True))
        made |= {key: after[text] for key, text in unknown.items() if text in after}
    rows = rows_from([s for s, _ in passed], [key for _, key in passed], known, made, task)
    return _Tried(_by_block(zip((key for _, key in passed), rows, strict=True)), failed, judged)


def _by_block(pairs: Iterable[Pair]) -> dict[Name, Sequence[Pair]]:
    """Pairs by their blocks, in order."""
    found: dict[Name, list[Pair]] = {}
    for key, row in pairs:
        found.setdefault(row.of_block, []).append((key, row))
    return dict(found)


def _faults(rows: Sequence[Row], task: Batch, trial: Trial, model: Model) -> tuple[str, ...]:
    """What is wrong with what a side's model made of a block: another one had to stand in, or what checks find."""
    stood_in = any(_stood_in(row, model, is_first=len(trial.routes) == 1) for row in rows)
    judged = [Judged(row.source, row.translation, row.checks) for row in rows]
    return ((ENGINE,) if stood_in else ()) + strict.faults(judged, task.source, task.target)


def _stood_in(row: Row, model: Model, *, is_first: bool) -> bool:
    """Whether another model had to stand in for this one: the next route, or, for a higher tier, the one below it."""
    if row.known or row.climbed_from:
        return False
    if is_first:
        return model.identity not in row.model.split("+")
    return not row.model or (row.first_score is not None and not row.stayed)


def _improbable(trial: Trial, judged: Sequence[Row]) -> set[Name]:
    """Blocks with a text that the incumbent, where it can say, holds for no translation of its source."""
    if trial.incumbent.engine not in SCORING or len(trial.routes[-1]) > 1:
        return set()
    rows = [row for row in judged if row.translation and not row.known]
    try:
        said = likelihoods([r.source for r in rows], [r.translation for r in rows], trial.incumbent, engines())
    except (ModelError, ResourceError) as error:
        log.warning("the incumbent can't say what it thinks of the candidate: %s", error)
        return set()
    by_block: dict[Name, list[Likelihood]] = {}
    for row, likelihood in zip(rows, said, strict=True):
        if likelihood is not None:
            by_block.setdefault(row.of_block, []).append(likelihood)
    return {name for name, each in by_block.items() if _is_improbable(each)}


def _is_improbable(said: Sequence[Likelihood]) -> bool:
    mean = sum(each.log_probability * each.tokens for each in said) / sum(each.tokens for each in said)
    return mean < LEAST_PROBABLE_MEAN or any(each.log_probability < LEAST_PROBABLE for each in said)
