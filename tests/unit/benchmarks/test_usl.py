"""The fit of the Universal Scalability Law finds the law that made the figures."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.usl import Law, fit

WORKERS = (1, 2, 4, 8, 16, 32, 64)


@settings(max_examples=50)
@given(st.floats(0.1, 1_000), st.floats(0, 0.5), st.floats(0, 0.01))
def test_the_law_that_made_the_figures_is_found(rate: float, contention: float, coherency: float) -> None:
    law = Law(rate, contention, coherency)
    found = fit(WORKERS, [law.at(n) for n in WORKERS])
    assert [found.at(n) for n in WORKERS] == pytest.approx([law.at(n) for n in WORKERS], rel=0.01)


def test_where_the_peak_is() -> None:
    law = Law(10, 0.19, 1e-4)
    assert law.peak == pytest.approx(90)
    assert law.at(90) > max(law.at(80), law.at(100))
    assert fit(WORKERS, [10.0 * n for n in WORKERS]).peak > 1_000
    assert Law(10, 0.1, 0).peak == math.inf
    assert Law(10, 0, 0).at(7) == pytest.approx(70)
