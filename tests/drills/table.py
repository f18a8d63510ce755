"""Prints the table of docs/reliability.md from the results of all seeds: `python tests/drills/table.py [folder]`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

HEAD = (
    "| drill | passed | silence | worst | late | worst |",
    "| --- | --- | --- | --- | --- | --- |",
)


def rows(seeds: Iterable[dict[str, dict[str, Any]]]) -> list[str]:
    """A line a drill: how many of the seeds it passed, and the median and the worst of its times, in seconds."""
    of_drill: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        for name, measured in seed.items():
            of_drill.setdefault(name, []).append(measured)
    return [_row(name, own) for name, own in sorted(of_drill.items())]


def _row(name: str, own: list[dict[str, Any]]) -> str:
    passed = sum(one["passed"] for one in own)
    cells = [f"{passed} of {len(own)}"]
    for field in ("silence", "late"):
        values = [max(0.0, one[field]) for one in own]
        cells += [f"{median(values):.0f}", f"{max(values):.0f}"]
    return f"| {name}: {own[-1]['harm']} | {' | '.join(cells)} |"


def main(folder: Path) -> None:
    """Print the table."""
    files = sorted(folder.glob("seed-*.json"))
    print(f"{len(files)} seeds\n", file=sys.stderr)
    print(*HEAD, *rows(json.loads(file.read_text()) for file in files), sep="\n")


if __name__ == "__main__":
    default = os.environ.get("TRADU_DRILL_RESULTS") or Path(__file__).with_name("results")
    main(Path(sys.argv[1] if len(sys.argv) > 1 else default))
