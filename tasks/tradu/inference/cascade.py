"""Which tiers are worth their cost for a pair of languages: the others are left out before anything is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tradu.inference.model import Model, Route
from tradu.inference.routes import cost_of, is_higher, tier_of

SCORING_SECONDS = 1.0
"""CPU seconds that checking and scoring a million characters takes (docs/quality.md)."""
CLIMB_SHARES = {
    "memory": ((0.0, 0.0), (1.0, 0.0)),
    "economy": ((0.0, 0.0), (0.3, 0.03), (0.4, 0.17), (0.5, 0.64), (0.6, 1.0), (1.0, 1.0)),
    "standard": ((0.0, 0.0), (0.5, 0.002), (0.7, 0.015), (0.8, 0.06), (0.9, 0.34), (0.95, 0.74), (1.0, 1.0)),
    "premium": ((0.0, 0.0), (1.0, 1.0)),
}
"""Share of the characters (second) whose translation by a tier scores below a threshold (first), with straight lines
between: measured on catalogues in English and Portuguese (tests/benchmarks/cascade.py), the mean of both directions."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A tier that a pair of languages does without."""

    tier: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """How a pair of languages is translated."""

    routes: tuple[Route, ...]
    """In the order they are tried: the first rung, higher ones, and last those that only stand in for what failed."""
    climb_below: float
    """The score under which a segment climbs to the next higher tier; 0: none does."""
    left_out: tuple[LeftOut, ...] = ()

    @property
    def rungs(self) -> tuple[Route, ...]:
        """The first route of each tier that segments climb through, lowest first."""
        rungs = [self.routes[0]]
        for route in self.routes[1:] if self.climb_below else ():
            if is_higher(tier_of(route), tier_of(rungs[-1])):
                rungs.append(route)
        return tuple(rungs)

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of the characters that is expected to reach each rung."""
        shares = [1.0]
        for rung in self.rungs[:-1]:
            shares.append(shares[-1] * climb_share(rung, self.climb_below))
        return tuple(shares)

    @property
    def cpu_seconds_per_million_chars(self) -> float:
        """What a million characters of source are expected to take, all rungs together."""
        return sum(share * cost_of(rung) for share, rung in zip(self.shares, self.rungs, strict=True))


def plan(routes: Sequence[Route], climb_below: float) -> Plan:
    """Leave out the first rung as long as going to the next one at once is cheaper: it stands in for failures then.

    A first rung costs its translation and checks for all of the text, and the next rung for what climbs; without it the
    next rung takes all.
    """
    left, out = list(routes), list[LeftOut]()
    while climb_below and (higher := next((r for r in left if is_higher(tier_of(r), tier_of(left[0]))), None)):
        first = left[0]
        share = climb_share(first, climb_below)
        through = cost_of(first) + SCORING_SECONDS + share * cost_of(higher)
        if through < cost_of(higher):
            break
        tier = tier_of(first)
        out.append(
            LeftOut(
                tier,
                f"{tier} would cost {through:.0f} CPU seconds per million characters, of which {share:.0%} climb; "
                f"{tier_of(higher)} at once costs {cost_of(higher):.0f}",
            )
        )
        left.sort(key=lambda r: tier_of(r) == tier)  # stable: the others keep their order
    return Plan(tuple(left), climb_below, tuple(out))


def with_model_replaced(plan: Plan, identity: str, model: Model) -> Plan:
    """The same plan with another model wherever this one stands."""
    routes = tuple(tuple(model if m.identity == identity else m for m in route) for route in plan.routes)
    return replace(plan, routes=routes)


def climb_share(route: Route, climb_below: float) -> float:
    """The share of the characters that is expected to climb from a route."""
    for (low, less), (high, more) in pairwise(CLIMB_SHARES[tier_of(route)]):
        if climb_below <= high:
            return less + (more - less) * (climb_below - low) / (high - low)
    return 1.0
