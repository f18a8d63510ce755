"""Routes: the ways from one language to another through the models there are, best first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tradu.inference.languages import ANY, base, distance
from tradu.inference.model import Model, Route

TIERS = ("memory", "economy", "standard", "premium")
"""The rungs of the cascade, lowest first."""
LONGEST = 3
"""Most models in a route: every pivot adds its own errors."""
PIVOTS_PER_TIER = 2
"""Pivot routes kept per tier: further ones cost time and seldom mend what the first two broke."""


def tier_of(route: Route) -> str:
    """The tier of a route: that of its weakest model."""
    return min((model.tier for model in route), key=TIERS.index)


def is_higher(tier: str, other: str) -> bool:
    """Whether a tier is a higher rung than another one."""
    return TIERS.index(tier) > TIERS.index(other)


def cost_of(route: Route) -> float:
    """What a route costs, CPU seconds per million characters of source."""
    return sum(model.cpu_seconds_per_million_chars for model in route)


def pace_of(rungs: Sequence[Route], shares: Sequence[float], measured: Mapping[str, float]) -> float | None:
    """What a million characters take a worker that climbs these rungs, seconds; None: the first is not measured.

    Args:
        rungs: the first route of each tier.
        shares: of the characters that reach each of them.
        measured: seconds per million characters of routes, named by their models' identities, joined by +.
    """
    names = ["+".join(model.identity for model in rung) for rung in rungs]
    if names[0] not in measured:
        return None
    return sum(
        share * measured.get(name, cost_of(rung)) for name, share, rung in zip(names, shares, rungs, strict=True)
    )


def find_routes(
    models: Iterable[Model], source: str, target: str, tiers: Sequence[str], only: Sequence[str] = ()
) -> tuple[Route, ...]:
    """Routes by the order of `tiers`; in each tier the direct models, and pivots only where there is no direct one.

    Models for any language lead from a language to itself. They and candidates are used only where `only` names them.
    """
    usable = [m for m in models if m.tier in tiers and (m.name in only if only else _is_for_all(m))]
    found: list[Route] = []
    for tier in tiers:
        direct = [(m,) for m in usable if m.tier == tier and _leads(m, source, target)]
        if direct:
            found += sorted(direct, key=lambda route: _rank(route, source, target))
        elif source != target:
            pivots = (r for r in _chains(usable, source, target) if tier_of(r) == tier)
            found += sorted(pivots, key=lambda route: _rank(route, source, target))[:PIVOTS_PER_TIER]
    if len(found) == 1 and source != target:  # an only route has no fall-back: a pivot is better than none
        others = (r for r in _chains(usable, source, target) if r not in found)
        found += sorted(others, key=lambda route: (len(route), -_best(route), cost_of(route)))[:1]
    return tuple(found)


def _is_for_all(model: Model) -> bool:
    return model.source != ANY and not model.candidate_for


def _best(route: Route) -> int:
    return max(TIERS.index(model.tier) for model in route)


def _leads(model: Model, source: str, target: str) -> bool:
    if model.source == ANY:
        return source == target
    return distance(model.source, source) is not None and distance(model.target, target) is not None


def _chains(models: Sequence[Model], source: str, target: str) -> Iterator[Route]:
    """Chains of two models, and of three only where no two lead there; no language is passed twice."""
    starts: list[Route] = [(m,) for m in models if m.source != ANY and distance(m.source, source) is not None]
    for _ in range(LONGEST - 1):
        longer: list[Route] = [(*r, m) for r in starts for m in models if _continues(r, m, source)]
        whole = [r for r in longer if distance(r[-1].target, target) is not None]
        yield from whole
        if whole:
            return
        starts = longer


def _continues(route: Route, model: Model, source: str) -> bool:
    passed = {base(source), *(base(m.target) for m in route)}
    here = route[-1].target
    return model.source != ANY and base(model.source) == base(here) and base(model.target) not in passed


def _rank(route: Route, source: str, target: str) -> tuple[int, int, float, str]:
    """Short before long, the asked region before another, cheap before dear; names make the order total."""
    apart = (distance(route[0].source, source) or 0) + (distance(route[-1].target, target) or 0)
    return len(route), apart, cost_of(route), "+".join(model.name for model in route)
