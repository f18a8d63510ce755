"""The cascade keeps the quality of the best tier at a fraction of its cost (`make bench`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import cascade

AIM_QUALITY, AIM_COST, AIM_NEVER = 0.97, 0.5, 1.05


@pytest.mark.timeout(1_800)
def test_quality_against_cost(tmp_path: Path) -> None:
    table = cascade.table(tmp_path)
    print("\n" + cascade.HEAD)
    print("\n".join(line.text() for line in table))
    for direction in {line.direction for line in table}:
        own = {line.way: line for line in table if line.direction == direction}
        alone = [line for way, line in own.items() if way.endswith("alone")]
        best, dearest = max(line.chrf for line in alone), max(line.cpu_seconds for line in alone)
        balanced = own["cascade below 0.7"]
        assert balanced.chrf >= AIM_QUALITY * best
        assert balanced.cpu_seconds <= AIM_COST * dearest
        assert all(line.cpu_seconds <= AIM_NEVER * dearest for line in own.values())
