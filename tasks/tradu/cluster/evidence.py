"""What a batch shows of a rollout's two sides, and what is done about it when the batch is committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from tradu.cluster.segments import Row
from tradu.inference.model import Model
from tradu.inference.pool import Spent
from tradu.ledger import rollouts
from tradu.ledger.connection import Transaction
from tradu.ledger.rollouts import Evidence, Rollout, RolloutState, Side
from tradu.rollouts.decision import Limits, Result, decide


def of_blocks(
    names: Sequence[tuple[str, int]],
    judged: Mapping[tuple[str, int], Sequence[Row]],
    failed: Mapping[tuple[str, int], Sequence[str]],
    spent: Iterable[Spent],
    price_per_hour: float,
) -> Evidence:
    """What these blocks of one side show. `spent`: what the side's model took for all of its blocks in the batch.

    A block counts with its mean score, of what the model itself made of it: 0 where it made nothing.
    """
    spent, failures = list(spent), Counter[str]()
    scores = [_score(judged.get(name, ())) for name in names]
    rows = [row for name in names for row in judged.get(name, ())]
    for name in names:
        failures.update(failed.get(name, ()))
    seconds = sum(each.seconds for each in spent)
    return Evidence(
        blocks=len(names),
        failed=sum(name in failed for name in names),
        segments=len(rows),
        characters=sum(len(row.source) for row in rows),
        score_sum=sum(scores),
        score_squares=sum(score * score for score in scores),
        timed=sum(each.characters for each in spent),
        seconds=seconds,
        cost=seconds * price_per_hour / 3600,
        failures=dict(failures),
    )


def _score(rows: Sequence[Row]) -> float:
    """The mean score by length, before anything climbed."""
    characters = sum(len(row.source) for row in rows)
    scores = (len(r.source) * (r.checks.score if r.first_score is None else r.first_score) for r in rows)
    return sum(scores) / characters if characters else 0.0


def spent_by(model: Model, spent: Iterable[Spent]) -> list[Spent]:
    """What the routes took in which a model has a part."""
    return [each for each in spent if model.identity in each.models.split("+")]


def together(spent: Iterable[Spent]) -> list[Spent]:
    """What was counted in several parts, each route once."""
    found: dict[str, Spent] = {}
    for each in spent:
        before = found.get(each.models, Spent(each.tier, each.models, 0, 0, 0.0))
        found[each.models] = Spent(
            each.tier,
            each.models,
            before.texts + each.texts,
            before.characters + each.characters,
            before.seconds + each.seconds,
        )
    return list(found.values())


def write(tx: Transaction, job_id: UUID, rollout: Rollout, seen: Mapping[Side, Evidence]) -> None:
    """Add to the evidence, and roll the candidate back at once where it is certainly bad: it gets no block any more."""
    rollouts.add_evidence(tx, job_id, rollout, seen)
    if not seen[Side.CANDIDATE].failed:
        return
    known = rollouts.evidence(tx, rollout, rollout.step)
    said = decide(known[Side.CANDIDATE], known[Side.CONTROL], Limits(**rollout.limits))
    if said.result is Result.ROLL_BACK and rollouts.end(tx, rollout, RolloutState.ROLLED_BACK, said.rule):
        rollouts.decided(tx, rollout, said.result, said.rule, known)
