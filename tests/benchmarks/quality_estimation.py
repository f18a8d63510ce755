"""Measures the score on real text with human references, none of which it was fitted on (`make bench`).

Run it alone: python tests/benchmarks/quality_estimation.py [FOLDER], which keeps the catalogues there.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.stats import rankdata, spearmanr

from benchmarks import calibrate, estimates
from benchmarks.estimates import Row
from tradu.inference import scoring
from tradu.inference.pool import EnginePool
from tradu.inference.registry import load_registry
from tradu.quality import checks, similarity

FALSE_ALARMS = 0.05
BLOCK = 10
"""Segments of a block, where blocks are judged."""
SIMILAR = 600
"""Rows of each maker of which the similarity is asked: it is slow."""


def score(row: Row, name: str) -> float:
    """The score of a row by the evidence that a calibration uses."""
    support = calibrate.only(row.support, name)
    return checks.check_translation(
        row.source, row.translation, row.origin, row.target, unknown_words=row.unknown, support=support
    ).score


def auc(bad: Sequence[float], good: Sequence[float]) -> float:
    """How often a good one scores higher than a bad one; ties count half (Mann and Whitney's U)."""
    ranks = rankdata([*good, *bad])
    return float((ranks[: len(good)].sum() - len(good) * (len(good) + 1) / 2) / (len(good) * len(bad)))


@dataclass(frozen=True, slots=True)
class Found:
    """How many errors of a kind are found at so many false alarms."""

    rows: int
    share: float
    auc: float


def found(good: Sequence[float], bad: Sequence[float]) -> Found:
    """Errors among `bad` below the score that FALSE_ALARMS of `good` don't reach."""
    border = float(np.quantile(good, FALSE_ALARMS))
    return Found(len(bad), float(np.mean(np.asarray(bad) < border)), auc(bad, good))


def natural(rows: Sequence[Row], name: str) -> dict[str, float]:
    """What the score says about translations as engines made them, without planted errors."""
    scores, chrf = [score(row, name) for row in rows], [row.chrf for row in rows]
    good = [s for s, row in zip(scores, rows, strict=True) if row.good]
    bad = [s for s, row in zip(scores, rows, strict=True) if not row.good]
    blocks = [_block(rows[i : i + BLOCK], scores[i : i + BLOCK]) for i in range(0, len(rows) - BLOCK + 1, BLOCK)]
    return {
        "rows": len(rows),
        "spearman": float(spearmanr(scores, chrf).statistic),
        "auc": auc(bad, good),
        "score": float(np.mean(scores)),
        "good": len(good) / len(rows),
        "error": calibration_error(scores, [row.good for row in rows]),
        "blocks": float(spearmanr([s for s, _ in blocks], [c for _, c in blocks]).statistic),
    }


def _block(rows: Sequence[Row], scores: Sequence[float]) -> tuple[float, float]:
    """Score and chrF of a block, weighted by length as the line does it."""
    lengths = [len(row.source) for row in rows]
    return float(np.average(scores, weights=lengths)), float(np.average([r.chrf for r in rows], weights=lengths))


def calibration_error(scores: Sequence[float], good: Sequence[bool], bins: int = 10) -> float:
    """Mean distance between score and share of good ones, in bins of as many rows each."""
    order = np.argsort(scores, kind="stable")
    parts = np.array_split(order, bins)
    at, truth = np.asarray(scores), np.asarray(good, float)
    return float(sum(abs(at[p].mean() - truth[p].mean()) * len(p) for p in parts) / len(scores))


def detection(rows: Sequence[Row], maker: str, name: str) -> dict[str, Found]:
    """Planted errors of each kind, against good translations of the same maker."""
    own = [row for row in rows if row.maker == maker]
    good = [score(row, name) for row in own if row.good]
    kinds = dict.fromkeys(row.error for row in own if row.error)
    bad = {kind: [score(row, name) for row in own if row.error == kind] for kind in kinds}
    return {kind: found(good, scores) for kind, scores in bad.items()} | {
        "all": found(good, [s for scores in bad.values() for s in scores])
    }


def seconds_per_million(run: Callable[[], object], characters: int) -> float:
    """CPU seconds a million characters of source take."""
    start = time.process_time()
    run()
    return (time.process_time() - start) / characters * 1e6


def costs(rows: Sequence[Row]) -> dict[str, float]:
    """CPU seconds per million characters of source, beside those of translating the same texts."""
    rows = [row for row in rows if row.maker == "neural" and not row.error and row.origin == "en"]
    sources, texts = [row.source for row in rows], [row.translation for row in rows]
    size, registry, pool = sum(map(len, sources)), load_registry(), EnginePool()
    forward, backward = scoring.scorer(registry, "en", "pt"), scoring.scorer(registry, "pt", "en")
    assert forward is not None
    assert backward is not None
    engine = pool.get(forward)
    few = slice(0, 100)
    runs: dict[str, Callable[[], object]] = {
        "translating": lambda: engine.translate(sources),
        "checks and score": lambda: [score(row, "own") for row in rows],
        "log-probabilities of given translations": lambda: scoring.likelihoods(sources, texts, forward, pool),
        "the round trip": lambda: scoring.likelihoods(texts, sources, backward, pool),
    }
    engine.translate(sources[:10])
    scoring.likelihoods(texts[:10], sources[:10], backward, pool)
    similarity.similarities(sources[:1], texts[:1])
    measured = {name: seconds_per_million(run, size) for name, run in runs.items()}
    measured["sentence embeddings"] = seconds_per_million(
        lambda: similarity.similarities(sources[few], texts[few]), sum(map(len, sources[few]))
    )
    return measured


def report(folder: Path) -> dict[str, dict[str, Found]]:
    """Print everything; the detection rates by maker and evidence."""
    estimates.fetch(folder)
    rows = with_some_similarities(estimates.Rows(folder).of("test"))
    clean = [row for row in rows if not row.error and row.maker != "human"]
    pairs = dict.fromkeys((row.maker, row.origin, row.target) for row in clean)
    print(f"\n{'translations as they were made':34} {'rows':>5} {'good':>5} {'score':>5} {'ECE':>5}", end="")
    print(f" {'Spearman':>8} {'AUC':>5} {'blocks':>6}")
    for maker, origin, target in pairs:
        own = [row for row in clean if (row.maker, row.origin, row.target) == (maker, origin, target)]
        for name in evidence(maker, own):
            some = [row for row in own if "similarity" not in name or row.support.similarity is not None]
            _say_natural(f"{maker} {origin}-{target}, {name}", natural(some, name))
    for name in ("own", "own+reverse"):
        mixed = [row for row in clean if {row.origin, row.target} == {"en", "pt"}]
        _say_natural(f"both engines, {name}/{name.replace('own', 'given')}", mixed_engines(mixed, name))
    print(f"\nplanted errors found at {FALSE_ALARMS:.0%} false alarms (AUC)")
    results = {}
    for maker, name in PLANTED:
        results[f"{maker}, {name}"] = each = detection(rows, maker, name)
        print(
            f"{maker + ', ' + name:24}",
            "  ".join(f"{k} {f.share:.1%} of {f.rows} ({f.auc:.3f})" for k, f in each.items()),
        )
    print("\nCPU seconds per million characters:", ", ".join(f"{k} {v:.1f}" for k, v in costs(rows).items()))
    return results


PLANTED = (
    ("neural", "silent"),
    ("neural", "own"),
    ("neural", "own+reverse"),
    ("human", "rules"),
    ("human", "given"),
    ("human", "given+reverse"),
)


def evidence(maker: str, rows: Sequence[Row]) -> Iterable[str]:
    """The calibrations that a maker's translations can be judged by."""
    yield "silent" if maker == "neural" else "rules"
    if rows[0].support.log_probability is not None:
        base = "own" if maker == "neural" else "given"
        yield from (base, f"{base}+reverse", f"{base}+similarity", f"{base}+reverse+similarity")


def mixed_engines(rows: Sequence[Row], name: str) -> dict[str, float]:
    """Both engines' translations together, each scored by the evidence that there is for it."""
    given = name.replace("own", "given")
    neural, rules = ([row for row in rows if row.maker == maker] for maker in ("neural", "rules"))
    scores = [score(row, name) for row in neural] + [score(row, given) for row in rules]
    every = [*neural, *rules]
    good = [s for s, row in zip(scores, every, strict=True) if row.good]
    bad = [s for s, row in zip(scores, every, strict=True) if not row.good]
    return {
        "rows": len(every),
        "spearman": float(spearmanr(scores, [row.chrf for row in every]).statistic),
        "auc": auc(bad, good),
        "score": float(np.mean(scores)),
        "good": len(good) / len(every),
        "error": calibration_error(scores, [row.good for row in every]),
        "blocks": float("nan"),
    }


def with_some_similarities(rows: Sequence[Row]) -> list[Row]:
    """All rows, the first of each maker and direction with the similarity of their meanings."""
    return calibrate.with_similarities(rows, clean=SIMILAR, planted=0)


def _say_natural(title: str, said: dict[str, float]) -> None:
    print(
        f"{title:34} {said['rows']:5.0f} {said['good']:5.2f} {said['score']:5.2f} {said['error']:5.3f} "
        f"{said['spearman']:8.3f} {said['auc']:5.3f} {said['blocks']:6.3f}",
        flush=True,
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        report(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(place))
