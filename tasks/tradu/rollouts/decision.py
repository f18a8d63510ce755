"""What becomes of a rollout, by what was seen of both sides: a pure function of the evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tradu.ledger.rollouts import Evidence

FAILURE_SURENESS = 3.0
"""Standard errors by which a candidate must be worse to be rolled back. The evidence is looked at after every batch,
and each look is a chance to be wrong: at three, one as good as the incumbent is hardly ever rolled back by luck."""
SCORE_SURENESS = 2.0


class Result(StrEnum):
    """What is done about a rollout."""

    HOLD = "hold"
    PROMOTE = "promote"  # by one step
    ROLL_BACK = "roll back"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much worse than the incumbent a candidate may be, and after how many blocks that is judged."""

    sample: int = 50
    """Blocks of each side in a step before the candidate goes on."""
    failures: float = 0.02
    """Share of failing blocks beyond the incumbent's."""
    score_loss: float = 0.02
    """How much lower its mean score may be."""
    slowdown: float = 2.0
    """How many times the incumbent's seconds a character it may take."""
    cost_ratio: float = 2.0
    """How many times the incumbent's cost a character it may have."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done, and why."""

    result: Result
    rule: str


def decide(candidate: Evidence, control: Evidence, limits: Limits) -> Decision:
    """Roll back what is certainly worse, promote what is certainly not, and wait where nobody can tell yet."""
    allowed = usual_failure_rate(control) + limits.failures
    failing = f"{candidate.failed} of {candidate.blocks} blocks failed, {control.failed} of {control.blocks} before"
    if lowest_failure_rate(candidate) > allowed:
        return Decision(Result.ROLL_BACK, f"failures: {failing}")
    least = min(candidate.blocks, control.blocks)
    if least < limits.sample:
        return Decision(Result.HOLD, f"sample: {least} of {limits.sample} blocks of each side")
    for name, mine, theirs, limit in (
        ("slow", candidate.seconds, control.seconds, limits.slowdown),
        ("dear", candidate.cost, control.cost, limits.cost_ratio),
    ):
        times = _times(mine, candidate.timed, theirs, control.timed)
        if times > limit:
            return Decision(Result.ROLL_BACK, f"{name}: {times:.2f} times the incumbent's, {limit:g} allowed")
    loss, error = score_loss(candidate, control)
    doubt = SCORE_SURENESS * error
    scores = f"the mean score is {loss:.4f} lower, give or take {doubt:.4f}; {limits.score_loss:g} allowed"
    if loss - doubt > limits.score_loss:
        return Decision(Result.ROLL_BACK, f"score: {scores}")
    if loss + doubt > limits.score_loss or candidate.failed / candidate.blocks > allowed:
        return Decision(Result.HOLD, f"not sure yet: {failing}; {scores}")
    return Decision(Result.PROMOTE, f"no worse: {failing}; {scores}")


def lowest_failure_rate(seen: Evidence) -> float:
    """The lower end of Wilson's interval for the share of failing blocks (E. B. Wilson, "Probable inference", 1927)."""
    if not seen.blocks:
        return 0.0
    n, p, z = seen.blocks, seen.failed / seen.blocks, FAILURE_SURENESS
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z * z / n))


def usual_failure_rate(seen: Evidence) -> float:
    """The incumbent's share of failing blocks by Laplace's rule of succession: a half where nothing was seen yet."""
    return (seen.failed + 1) / (seen.blocks + 2)


def score_loss(candidate: Evidence, control: Evidence) -> tuple[float, float]:
    """How much lower the candidate's mean score is, and the standard error of that (Welch's)."""
    mine, theirs = _mean_and_variance(candidate), _mean_and_variance(control)
    error = math.sqrt(mine[1] / candidate.blocks + theirs[1] / control.blocks)
    return theirs[0] - mine[0], error


def _mean_and_variance(seen: Evidence) -> tuple[float, float]:
    mean = seen.score_sum / seen.blocks
    spread = max(0.0, seen.score_squares - seen.blocks * mean * mean)
    return mean, spread / max(1, seen.blocks - 1)


def _times(mine: float, my_characters: int, theirs: float, their_characters: int) -> float:
    """How many times as much a character; 0 where one side translated nothing, or at no cost."""
    if not my_characters or not their_characters or not theirs:
        return 0.0
    return mine * their_characters / (theirs * my_characters)  # a tiny time over many characters would round to 0
