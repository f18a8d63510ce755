"""Draws what test_storage.py measured: `python tests/benchmarks/storage_plot.py RESULTS docs/images`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 300, 60, 20, 130, 45
COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df")
Points = Sequence[tuple[float, float]]


def logarithm(value: float) -> float:
    """Where a value stands on a logarithmic axis."""
    return math.log10(value)


def chart(
    lines: Mapping[str, Sequence[Points]],
    x_ticks: Mapping[float, str],
    y_ticks: Mapping[float, str],
    title: str,
    scale: tuple[Callable[[float], float], Callable[[float], float]],
) -> str:
    """An SVG with lines for each name; the ticks give the range of the axes, the scales how they run."""

    def place(value: float, ticks: Mapping[float, str], scale: Callable[[float], float], low: int, high: int) -> float:
        first, last = scale(min(ticks)), scale(max(ticks))
        return low + (scale(value) - first) / (last - first) * (high - low)

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            place(x, x_ticks, scale[0], LEFT, WIDTH - RIGHT),
            place(y, y_ticks, scale[1], HEIGHT - BOTTOM, TOP),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="11">',
        f'<title>{title}</title><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for y, label in y_ticks.items():
        _, py = at(min(x_ticks), y)
        parts.append(f'<path d="M{LEFT} {py:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{py + 4:.1f}" text-anchor="end">{label}</text>')
    for x, label in x_ticks.items():
        px, py = at(x, min(y_ticks))
        parts.append(f'<text x="{px:.1f}" y="{py + 16:.1f}" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">{title}</text>')
    ends: list[float] = []
    for colour, (name, pieces) in zip(COLOURS, lines.items(), strict=False):
        for points in pieces:
            placed = [at(x, y) for x, y in points]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        end = placed[-1][1] + 4
        while any(abs(end - other) < 13 for other in ends):  # labels that would lie on one another
            end -= 13
        ends.append(end)
        parts.append(f'<text x="{placed[-1][0] + 6:.1f}" y="{end:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def growth(samples: Sequence[Mapping[str, object]]) -> str:
    """Milliseconds against blocks of the past, both logarithmic; a line for each run, which measured two sizes."""
    names = {"claim": "claim of 100", "finish": "complete 100", "page": "page of 100", "read": "one block"}
    runs = list(zip(samples[::2], samples[1::2], strict=True))
    lines = {label: [[(s["blocks"], s[name]["p50"]) for s in run] for run in runs] for name, label in names.items()}
    return chart(
        lines,
        {1e5: "100,000", 1e6: "1 million", 1e7: "10 million"},
        {0.1: "0.1 ms", 1: "1 ms", 10: "10 ms", 100: "100 ms"},
        "Median time beside so many blocks of the past; each line is a run",
        (logarithm, logarithm),
    )


def years(samples: Sequence[Mapping[str, float]]) -> str:
    """Megabytes of each tier, month by month."""
    megabytes = {
        "all, if it stayed hot": [[(n, s["made_bytes"] / 1e6) for n, s in enumerate(samples)]],
        **{t: [[(n, s[f"{t}_bytes"] / 1e6) for n, s in enumerate(samples)]] for t in ("hot", "warm", "cold")},
    }
    most = math.ceil(max(y for (points,) in megabytes.values() for _, y in points) / 5) * 5
    return chart(
        megabytes,
        {n: f"year {n // 12}" if n else "" for n in range(0, len(samples) + 1, 12)},
        {most * n / 5: f"{most * n / 5:g} MB" for n in range(6)},
        "What lies in each tier over five simulated years",
        (float, float),
    )


if __name__ == "__main__":
    found: dict[str, list[object]] = {}
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        found.setdefault(record["what"], []).append(record["value"])
    folder = Path(sys.argv[2])
    if "growth" in found:
        (folder / "storage-growth.svg").write_text(growth(found["growth"]), encoding="utf-8")
    if "years" in found:
        (folder / "storage-years.svg").write_text(years(found["years"][-1]), encoding="utf-8")
