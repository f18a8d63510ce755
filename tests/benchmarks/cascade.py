"""Quality against cost: each tier alone, and the cascade at several thresholds, on real parallel text.

Costs are CPU seconds of this process: translating, checking, scoring, rejected attempts and the reverse model included.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sacrebleu.metrics import BLEU, CHRF

from benchmarks import estimates
from tradu.cluster.segments import judge_of
from tradu.inference.measure import cpu_seconds
from tradu.inference.model import Route
from tradu.inference.pool import EnginePool
from tradu.inference.registry import load_registry
from tradu.inference.routes import tier_of
from tradu.inference.translate import Climb, translate
from tradu.ledger.rows import Batch

THRESHOLDS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
SEGMENTS = 1_500


@dataclass(frozen=True, slots=True)
class Line:
    """One way of translating a direction, with what it made and took."""

    direction: str
    way: str
    chrf: float
    bleu: float
    cpu_seconds: float
    """A million characters of source."""
    seconds: float
    climbed: float
    """Share of the characters that climbed."""

    def text(self) -> str:
        """As a row of a table."""
        return (
            f"| {self.direction} | {self.way} | {self.chrf:.2f} | {self.bleu:.2f} | {self.cpu_seconds:.1f} | "
            f"{self.seconds:.1f} | {self.climbed:.1%} |"
        )


def run(origin: str, target: str, human: Sequence[tuple[str, str]]) -> list[Line]:
    """Every way of a direction, on the same text."""
    registry, pool = load_registry(), EnginePool()
    routes = registry.routes(origin, target, "balanced")
    of_tier = {
        tier: next((r for r in routes if tier_of(r) == tier), None) for tier in ("economy", "standard", "premium")
    }
    lines = [
        _line(origin, target, f"{tier} alone", human, [route], Climb(), pool)
        for tier, route in of_tier.items()
        if route
    ]
    rungs = [route for tier in ("standard", "premium") if (route := of_tier[tier])]
    lines += [
        _line(origin, target, f"cascade below {below:g}", human, rungs, Climb(below), pool) for below in THRESHOLDS
    ]
    pool.close()
    return lines


def _line(
    origin: str,
    target: str,
    way: str,
    human: Sequence[tuple[str, str]],
    routes: Sequence[Route],
    climb: Climb,
    pool: EnginePool,
) -> Line:
    task = Batch(0, origin, target, "", 0, 0, 0, "balanced", "")
    sources = [source for source, _ in human]
    models = [model for route in routes for model in route]
    for model in models:
        pool.get(model).translate(["A first sentence."])
    before = cpu_seconds()
    started = time.perf_counter()
    outcomes = translate(sources, routes, judge_of(task), pool, climb)
    seconds = time.perf_counter() - started
    spent = cpu_seconds() - before
    characters = sum(map(len, sources))
    references = [[wanted for _, wanted in human]]
    made = [outcome.text for outcome in outcomes]
    climbed = sum(len(s) for s, o in zip(sources, outcomes, strict=True) if o.climbed_from)
    return Line(
        f"{origin}-{target}",
        way,
        CHRF().corpus_score(made, references).score,
        BLEU().corpus_score(made, references).score,
        spent / characters * 1e6,
        seconds / characters * 1e6,
        climbed / characters,
    )


def pairs(folder: Path, origin: str) -> list[tuple[str, str]]:
    """Human translations that no coefficient was fitted on, distinct sources."""
    estimates.fetch(folder)
    both = estimates.pairs(folder, "measure").items()
    found = {(en if origin == "en" else pt): (pt if origin == "en" else en) for en, pt in both}
    return list(found.items())[:SEGMENTS]


HEAD = (
    "| | way | chrF | BLEU | CPU s a million characters | seconds | climbed |\n"
    "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
)


def table(folder: Path) -> list[Line]:
    """Both directions between English and Portuguese."""
    return [line for origin, target in estimates.DIRECTIONS for line in run(origin, target, pairs(folder, origin))]


if __name__ == "__main__":
    import tempfile

    print(HEAD)
    for each in table(Path(tempfile.gettempdir()) / "tradu-catalogues"):
        print(each.text())
