"""The score finds planted errors, and tells bad translations from good ones (`make bench`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import quality_estimation


@pytest.mark.apertium
@pytest.mark.timeout(1_800)
def test_the_score_against_people(tmp_path: Path) -> None:
    results = quality_estimation.report(tmp_path)
    own = results["neural, own"]
    assert all(found.share >= 0.9 for found in own.values())
    assert own["all"].auc >= 0.95
