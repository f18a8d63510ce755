"""Which worker serves which languages: models packed by memory, the busiest replicated. A pure function.

What is packed are needs: the models through which one pair of languages climbs with one profile, which a worker holds
together. First-fit decreasing: the largest first, each on the worker where it adds least (because models of it are
there already, or are loaded), then where least work waits. What memory is left takes replicas, those first of which
most work waits for each replica. Where everything fits everywhere, everything is everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Need:
    """The models of a pair of languages and a profile."""

    name: tuple[str, str, str]
    """Source, target, profile."""
    models: Mapping[str, Mapping[str, float]]
    """Identity of each model, with what it takes: megabytes by device (`cpu`, `cuda`)."""
    load: float
    """The work that waits for them; only the proportions count."""

    def memory_mb(self) -> dict[str, float]:
        """What the models take together, by device."""
        return _sum(self.models.values())


@dataclass(frozen=True, slots=True)
class Host:
    """A worker as the scheduler knows it."""

    address: str
    budget_mb: Mapping[str, float]
    """What models may take there, by device."""
    loaded: frozenset[str] = frozenset()
    """Identities of models that it has loaded."""
    roomy: bool = False
    """Every model there is fits at once."""
    pool: str = "default"


@dataclass(slots=True)
class _Bin:
    host: Host
    models: dict[str, Mapping[str, float]] = field(default_factory=dict)
    load: float = 0.0

    def added(self, need: Need) -> dict[str, float]:
        """What a need would add, megabytes by device."""
        return _sum(mb for name, mb in need.models.items() if name not in self.models)

    def fits(self, need: Need) -> bool:
        taken, more = _sum(self.models.values()), self.added(need)
        budget = self.host.budget_mb
        return all(taken.get(device, 0.0) + mb <= budget.get(device, 0.0) for device, mb in more.items() if mb)

    def free(self) -> float:
        return sum(self.host.budget_mb.values()) - sum(_sum(self.models.values()).values())

    def missing(self, need: Need) -> int:
        return len(set(need.models) - self.host.loaded - set(self.models))


def place(needs: Sequence[Need], hosts: Sequence[Host]) -> dict[tuple[str, str, str], tuple[str, ...]]:
    """The workers of each need, at least one where there are any; the same for the same input, in whatever order.

    A need that fits nowhere beside the others goes where most memory is left: its models take turns there.
    """
    bins = [_Bin(host) for host in sorted(hosts, key=lambda h: h.address)]
    chosen: dict[tuple[str, str, str], list[_Bin]] = {need.name: [] for need in needs}
    if not bins:
        return dict.fromkeys(chosen, ())

    def put(need: Need, where: _Bin) -> None:
        before = len(chosen[need.name])
        for each in chosen[need.name]:  # its work is shared with the new one
            each.load += need.load / (before + 1) - need.load / before
        where.models |= need.models
        where.load += need.load / (before + 1)
        chosen[need.name].append(where)

    largest_first = sorted(needs, key=lambda n: (-sum(n.memory_mb().values()), -n.load, n.name))
    for need in largest_first:
        fitting = [b for b in bins if b.fits(need)]
        if fitting:
            put(need, min(fitting, key=lambda b: (b.missing(need), sum(b.added(need).values()), b.load)))
        else:
            put(need, max(bins, key=lambda b: b.free()))
    hottest_first = {need.name: need for need in largest_first}
    while hottest_first:
        name = max(hottest_first, key=lambda n: (hottest_first[n].load / len(chosen[n]), n))
        need = hottest_first[name]
        further = [b for b in bins if b not in chosen[name] and b.fits(need)]
        if not further:
            del hottest_first[name]
            continue
        put(need, min(further, key=lambda b: (b.missing(need), b.load)))
    return {name: tuple(sorted(b.host.address for b in where)) for name, where in chosen.items()}


def _sum(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for device, mb in part.items():
            total[device] = total.get(device, 0.0) + mb
    return total
