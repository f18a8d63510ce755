"""The steps of rollouts: starting one, going on or back by what was seen, or because a person says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise

from psycopg.errors import UniqueViolation

from tradu.errors import RequestError
from tradu.inference.registry import Registry
from tradu.ledger import rollouts
from tradu.ledger.connection import Ledger, Transaction
from tradu.ledger.rollouts import Rollout, RolloutState, Side
from tradu.rollouts.decision import Decision, Limits, Result, decide


def start(ledger: Ledger, registry: Registry, name: str, shares: Sequence[float], limits: Limits) -> Rollout:
    """Let a candidate take the first share of the blocks of the model that it is for.

    Raises:
        RequestError: it is no candidate, it or its incumbent is not installed, the shares don't rise to 1, or another
            rollout of the incumbent is in effect.
    """
    candidate = registry.model(name)
    if not candidate.candidate_for:
        raise RequestError(f"{name!r} is no candidate: its entry in models.yaml needs candidate_for (docs/rollouts.md)")
    incumbent = registry.model(candidate.candidate_for)
    for model in (incumbent, candidate):
        if not registry.status(model).installed:
            raise RequestError(f"{model.name!r} is not installed: {registry.status(model).how_to_add}")
    if incumbent.identity == candidate.identity:
        raise RequestError(f"{name!r} is the same model as {incumbent.name!r}")
    if not 0 < shares[0] < 1 or shares[-1] != 1 or any(more <= less for less, more in pairwise(shares)):
        raise RequestError(f"the shares must rise from above 0 to 1, not {', '.join(f'{s:g}' for s in shares)}")
    try:
        with ledger.transaction() as tx:
            started = rollouts.start(tx, incumbent.identity, candidate.identity, shares, asdict(limits))
    except UniqueViolation:
        raise RequestError(
            f"another rollout of {incumbent.identity} is in effect: `tradu rollout list`; abort it first, or, after a "
            "promotion, write the candidate into models.yaml in its place"
        ) from None
    return find(ledger, started)


def find(ledger: Ledger, rollout_id: int) -> Rollout:
    """The rollout of this id.

    Raises:
        RequestError: there is none.
    """
    with ledger.transaction() as tx:
        found = tx.rows("rollout", Rollout, rollout_id=rollout_id)
    if not found:
        raise RequestError(f"there is no rollout {rollout_id}: `tradu rollout list`")
    return found[0]


def judge(tx: Transaction, rollout: Rollout) -> tuple[Decision, dict[Side, rollouts.Evidence]]:
    """What the evidence of a rollout's step says now, and the evidence."""
    seen = rollouts.evidence(tx, rollout, rollout.step)
    return decide(seen[Side.CANDIDATE], seen[Side.CONTROL], Limits(**rollout.limits)), seen


def look(ledger: Ledger) -> dict[str, int]:
    """Take the decision that is due on every running rollout; how many were held, promoted, rolled back."""
    found = {str(result): 0 for result in Result}
    with ledger.transaction() as tx:
        running = [r for r in rollouts.in_effect(tx) if r.state == RolloutState.RUNNING]
    for rollout in running:
        with ledger.transaction() as tx:
            said, seen = judge(tx, rollout)
            if said.result is Result.HOLD or _carry_out(tx, rollout, said):
                found[said.result] += 1
                if said.result is not Result.HOLD:
                    rollouts.decided(tx, rollout, said.result, said.rule, seen)
    return found


def promote(ledger: Ledger, rollout_id: int, by: str) -> Rollout:
    """Go on with the next step of a running rollout now, whatever the evidence says.

    Raises:
        RequestError: there is no such rollout, or it does not run.
    """
    return _by_hand(ledger, rollout_id, Decision(Result.PROMOTE, f"asked for by {by}"), {RolloutState.RUNNING})


def abort(ledger: Ledger, rollout_id: int, by: str) -> Rollout:
    """Give all blocks back to the incumbent, also after a promotion.

    Raises:
        RequestError: there is no such rollout, or it is not in effect.
    """
    in_effect = {RolloutState.RUNNING, RolloutState.PROMOTED}
    return _by_hand(ledger, rollout_id, Decision(Result.ROLL_BACK, f"asked for by {by}"), in_effect)


def _by_hand(ledger: Ledger, rollout_id: int, said: Decision, states: set[RolloutState]) -> Rollout:
    rollout = find(ledger, rollout_id)
    with ledger.transaction() as tx:
        seen = rollouts.evidence(tx, rollout, rollout.step)
        if rollout.state not in states or not _carry_out(tx, rollout, said, RolloutState.ABORTED):
            raise RequestError(f"rollout {rollout_id} is {find(ledger, rollout_id).state}")
        rollouts.decided(tx, rollout, said.result, said.rule, seen)
    return find(ledger, rollout_id)


def _carry_out(
    tx: Transaction, rollout: Rollout, said: Decision, back: RolloutState = RolloutState.ROLLED_BACK
) -> bool:
    """Make a decision so; false where another process was first."""
    if said.result is Result.ROLL_BACK:
        return rollouts.end(tx, rollout, back, said.rule)
    if rollout.shares[rollout.step + 1] < 1:
        return rollouts.step_up(tx, rollout)
    return rollouts.end(tx, rollout, RolloutState.PROMOTED, said.rule)
