"""Translating duplicates once is worth it, and a worker that has loaded ahead loads nothing more (`make bench`)."""

from __future__ import annotations

import pytest

from benchmarks import models


@pytest.mark.timeout(900)
def test_models_on_workers() -> None:
    found = models.report()
    most = found["duplicates"][-1]
    assert most.without > 2 * most.having
    for row in found["first"]:
        assert row.loads_in_first == 0
        assert row.load_seconds > 0
