"""The Universal Scalability Law: what a system gains by more workers, and where it gains nothing more.

    X(N) = λN / (1 + σ(N - 1) + κN(N - 1))

λ is what one worker does; σ the share of the work that only one does at a time (a queue in front of something); κ what
each pair of workers costs (they wait for one another to agree). With κ > 0 there is a number of workers at which the
throughput is highest, N* = √((1 - σ)/κ). N. J. Gunther: Guerrilla Capacity Planning, Springer 2007, chapters 4 to 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import curve_fit


@dataclass(frozen=True)
class Law:
    """The law with its three parameters."""

    rate: float
    """λ: what one worker does in a second."""
    contention: float
    """σ"""
    coherency: float
    """κ"""

    def at(self, workers: float) -> float:
        """Throughput of so many workers."""
        return float(_law(np.array([workers]), self.rate, self.contention, self.coherency)[0])

    @property
    def peak(self) -> float:
        """N*: so many workers do the most; infinite where nothing bends the curve down."""
        return math.sqrt((1 - self.contention) / self.coherency) if self.coherency > 1e-12 else math.inf


def _law(n: np.ndarray, rate: float, contention: float, coherency: float) -> np.ndarray:
    return rate * n / (1 + contention * (n - 1) + coherency * n * (n - 1))


def fit(workers: Sequence[float], rates: Sequence[float]) -> Law:
    """The law that comes nearest to what was measured, by least squares of the relative error; σ, κ in their bounds."""
    n, x = np.array(workers, dtype=float), np.array(rates, dtype=float)
    begin = (float(np.max(x / n)), 0.01, 1e-4)
    bounds = ((0.0, 0.0, 0.0), (np.inf, 1.0, 1.0))
    (rate, contention, coherency), _ = curve_fit(_law, n, x, p0=begin, sigma=x, bounds=bounds, x_scale=(begin[0], 1, 1))
    return Law(float(rate), float(contention), float(coherency))
