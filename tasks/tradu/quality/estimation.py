"""How good a translation is, 0 to 1, without a reference: evidence weighed by coefficients fitted on real text.

The score is the probability that a segment's translation is good, by logistic regression (D. R. Cox, "The regression
analysis of binary sequences", 1958) on penalties: numbers from 0 (nothing found) up. Weights are never negative, so
more of any penalty never raises a score. Which coefficients count depends on which evidence there is, since what is
missing is not the same as what is good: `Support.calibration` names them. They are data, in `include/quality.yaml`,
made by `tests/benchmarks/calibrate.py`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import yaml

from tradu.errors import RequestError
from tradu.settings import get_settings

_SURPRISE_SCALE, _REVERSE_SCALE = 0.05, 0.2
"""Where the logarithm of a mean surprise bends, nats a token: about what good translations have."""


@dataclass(frozen=True, slots=True)
class Support:
    """What models can say for or against a translation; None is what nobody asked or nobody can say."""

    log_probability: float | None = None
    """Mean of a token, natural logarithm, by the model that made it, or by another one (`given`)."""
    lowest: float | None = None
    """Of the least probable token."""
    given: bool = False
    """The log-probabilities are those of a model that did not make the translation."""
    rule_based: bool = False
    """It comes from a rule-based engine, whose faults are other ones."""
    reverse_log_probability: float | None = None
    """Mean of a token of the source, given the translation, by the model of the other direction: the round trip."""
    similarity: float | None = None
    """Of the meanings of source and translation, -1 to 1 (`similarity.py`)."""

    @property
    def calibration(self) -> str:
        """Which coefficients go with this evidence."""
        if self.log_probability is None:
            return "rules" if self.rule_based else "silent"
        more = ("+reverse" if self.reverse_log_probability is not None else "") + (
            "+similarity" if self.similarity is not None else ""
        )
        return ("given" if self.given else "own") + more


ALONE = Support()
"""No model says anything."""


@dataclass(frozen=True, slots=True)
class Penalties:
    """What speaks against a translation, each from 0 up."""

    numbers: float
    """Numbers lost or added and units exchanged, at most 2."""
    negation: float
    """1: one side negates and the other does not."""
    shorter: float
    """How much shorter than its source, as a logarithm."""
    longer: float
    repetition: float
    cut_off: float
    unknown: float
    """Share of its words that the engine did not know."""
    distant: float
    """1: the languages are not close kin. Counts for rule-based engines only, which are good between kin."""
    surprise: float
    """How improbable it is, a token."""
    worst: float
    """How improbable its least probable token is."""
    reverse: float
    """How improbable its source is, given it."""
    unlike: float
    """How far its meaning is from its source's."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The coefficients for one kind of evidence."""

    intercept: float
    """The logit of a translation against which nothing speaks."""
    weights: Mapping[str, float]
    """What each penalty takes off it; what is not named counts nothing."""

    def score(self, penalties: Penalties) -> float:
        """The probability that the translation is good."""
        logit = self.intercept - sum(w * getattr(penalties, name) for name, w in self.weights.items())
        return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0


def surprise(support: Support) -> dict[str, float]:
    """The penalties that come from models, 0 where there is no such evidence."""
    mean, lowest, reverse = support.log_probability, support.lowest, support.reverse_log_probability
    return {
        "surprise": math.log1p(max(0.0, -mean) / _SURPRISE_SCALE) if mean is not None else 0.0,
        "worst": math.log1p(max(0.0, -lowest)) if lowest is not None else 0.0,
        "reverse": math.log1p(max(0.0, -reverse) / _REVERSE_SCALE) if reverse is not None else 0.0,
        "unlike": max(0.0, 1 - support.similarity) if support.similarity is not None else 0.0,
    }


def score(penalties: Penalties, support: Support) -> float:
    """The score of a translation, rounded to four places."""
    return round(calibration(support.calibration).score(penalties), 4)


@lru_cache(maxsize=32)
def calibration(name: str) -> Calibration:
    """The coefficients of this name in `include/quality.yaml`, read once: a process judges millions of segments.

    Raises:
        RequestError: the file is missing or wrong, or has none of this name.
    """
    file = get_settings().include / "quality.yaml"
    found = _calibrations(file)
    if name not in found:
        raise RequestError(f"{file}: no calibration {name!r}; there are: {', '.join(found)}")
    return found[name]


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """Eight hexadecimal digits of the coefficients: what a score decided may be decided otherwise when they change."""
    return hashlib.sha256((get_settings().include / "quality.yaml").read_bytes()).hexdigest()[:8]


def _calibrations(file: Path) -> Mapping[str, Calibration]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        found = {
            str(name): Calibration(float(entry["intercept"]), {k: float(v) for k, v in entry["weights"].items()})
            for name, entry in content["calibrations"].items()
        }
    except (OSError, KeyError, TypeError, AttributeError, ValueError, yaml.YAMLError) as error:
        raise RequestError(f"{file}: no calibrations can be read from it: {error!r}") from None
    known = {field.name for field in fields(Penalties)}
    for name, entry in found.items():
        if wrong := [k for k, weight in entry.weights.items() if k not in known or not 0 <= weight < math.inf]:
            raise RequestError(
                f"{file}: calibration {name!r}: {', '.join(wrong)}: no such penalty, or a weight below 0"
            )
    return found
