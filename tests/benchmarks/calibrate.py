"""Fits the coefficients of the score on real translations, and writes them into include/quality.yaml.

Run it where Apertium and the Firefox models are installed: python tests/benchmarks/calibrate.py
The text is that of one catalogue (estimates.FIT); quality is measured on others (quality_estimation.py).
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks import estimates
from benchmarks.estimates import Row
from tradu.documents import language
from tradu.quality import checks
from tradu.quality.estimation import Penalties, Support
from tradu.quality.similarity import similarities
from tradu.settings import get_settings

PLANTED_SHARE = 0.1
"""Errors are planted in so many of a maker's translations for each that has none of them: as if one in ten were hit."""
RIDGE = 1e-3
CHECKS = ("numbers", "negation", "shorter", "longer", "repetition", "cut_off")
SIMILAR, SIMILAR_PLANTED = 600, 100
"""Rows of each maker and direction, and of each kind of error planted in them, of which the similarity is asked: it is
slow."""
HEAD = """# Coefficients of the score of translations (tradu.quality.estimation), made by tests/benchmarks/calibrate.py.
# One set for each kind of evidence: the logit of a translation against which nothing speaks, and what each penalty
# takes off it. Own: log-probabilities of the model that made it; given: of a model that did not; rules: of none, and a
# rule-based engine made it; silent: of none, another engine.
"""


def only(support: Support, name: str) -> Support:
    """The part of the evidence that a calibration uses."""
    if name in ("rules", "silent"):
        return Support(rule_based=name == "rules")
    kept = support if "+reverse" in name else replace(support, reverse_log_probability=None)
    return kept if "+similarity" in name else replace(kept, similarity=None)


def penalties(row: Row, name: str) -> Penalties:
    """What speaks against a row, by the evidence that a calibration uses."""
    seen = checks.check_translation(row.source, row.translation, row.origin, row.target, unknown_words=row.unknown)
    return checks.penalties(seen, row.translation, language.kin(row.origin, row.target), only(row.support, name))


@dataclass(frozen=True, slots=True)
class Plan:
    """Which rows a calibration is fitted on, and by which penalties."""

    rows: Callable[[Row], bool]
    penalties: tuple[str, ...]


def _neural(row: Row) -> bool:
    return not row.support.given and row.support.log_probability is not None


def _given(row: Row) -> bool:
    return row.support.given and row.support.log_probability is not None


def plans() -> dict[str, Plan]:
    """All calibrations."""
    found = {
        "rules": Plan(
            lambda row: row.maker == "rules" or bool(row.error and _given(row)), (*CHECKS, "unknown", "distant")
        ),
        "silent": Plan(_neural, CHECKS),
    }
    for base, rows, own in (("own", _neural, ("surprise", "worst")), ("given", _given, ("surprise", "unknown"))):
        for more in ((), ("reverse",), ("similarity",), ("reverse", "similarity")):
            names = tuple("unlike" if name == "similarity" else name for name in more)
            found["+".join((base, *more))] = Plan(
                lambda row, rows=rows, similar="similarity" in more: (
                    rows(row) and (not similar or row.support.similarity is not None)
                ),
                (*CHECKS, *own, *names),
            )
    return found


def weights(rows: Sequence[Row]) -> NDArray[np.float64]:
    """The same for every maker's translations together, and PLANTED_SHARE of it for errors, the same for every kind."""
    counts = Counter((row.error or row.maker) for row in rows)
    makers = {row.maker for row in rows if not row.error}
    errors = {row.error for row in rows if row.error}
    share = dict.fromkeys(makers, 1.0) | {error: PLANTED_SHARE * len(makers) / len(errors) for error in errors}
    return np.array([1_000 * share[row.error or row.maker] / counts[row.error or row.maker] for row in rows])


def usable(row: Row) -> bool:
    """Whether the score looks at the evidence at all: it does not where a hard check fails."""
    seen = checks.check_translation(row.source, row.translation, row.origin, row.target)
    return not (seen.empty or seen.copied or seen.target_language_ok is False)


def fit(rows: Sequence[Row], name: str, plan: Plan) -> dict[str, object]:
    """Logistic regression with weights that are not negative."""
    chosen = [row for row in rows if plan.rows(row)]
    names = [field.name for field in fields(Penalties)]
    table = np.array([astuple(penalties(row, name)) for row in chosen], np.float64)
    table = table[:, [names.index(p) for p in plan.penalties]]
    good, share = np.array([row.good for row in chosen], np.float64), weights(chosen)
    spread = table.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    scaled = table / scale

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logit = at[0] - scaled @ at[1:]
        error = share * (1 / (1 + np.exp(-np.clip(logit, -500, 500))) - good)
        value = share @ (np.logaddexp(0, logit) - good * logit) + RIDGE * share.sum() * (at[1:] ** 2).sum()
        return value, np.r_[error.sum(), -scaled.T @ error + 2 * RIDGE * share.sum() * at[1:]]

    bounds = [(None, None)] + [(0, None)] * len(plan.penalties)
    found = minimize(loss, np.zeros(len(bounds)), jac=True, bounds=bounds, method="L-BFGS-B").x
    taken = {p: round(float(w), 4) for p, w in zip(plan.penalties, found[1:] / scale, strict=True) if w > 0}
    return {"intercept": round(float(found[0]), 4), "weights": taken}


def with_similarities(rows: Sequence[Row], clean: int, planted: int) -> list[Row]:
    """All rows, so many of each maker and direction, and so many of each kind of error, with the similarity."""
    seen: Counter[tuple[str, ...]] = Counter()
    asked = []
    for place, row in enumerate(rows):
        kind = row.error, row.maker, row.origin, row.target
        seen[kind] += 1
        if seen[kind] <= (planted if row.error else clean):
            asked.append(place)
    pairs = [rows[i].source for i in asked], [rows[i].translation for i in asked]
    known = dict(zip(asked, similarities(*pairs), strict=True))
    return [
        replace(row, support=replace(row.support, similarity=known[place])) if place in known else row
        for place, row in enumerate(rows)
    ]


def main() -> None:
    """Fit everything and write the file."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(place)
        estimates.fetch(folder)
        usable_rows = [row for row in estimates.Rows(folder).of("fit") if usable(row)]
        rows = with_similarities(usable_rows, clean=SIMILAR, planted=SIMILAR_PLANTED)
    content = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "fitted_on": f"{estimates.FIT}'s gettext catalogue, {len(rows)} rows in English, Portuguese and Spanish",
        "calibrations": {name: fit(rows, name, plan) for name, plan in plans().items()},
    }
    text = HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=118)
    (get_settings().include / "quality.yaml").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
