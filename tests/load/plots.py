"""Draws what the load runs and test_usl.py measured: `python tests/load/plots.py RESULTS docs/images`."""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.storage_plot import HEIGHT, WIDTH, Points, chart, logarithm
from benchmarks.usl import Law

SMOOTH_SECONDS = 5
Lines = Mapping[str, Sequence[Points]]


def stacked(panels: Sequence[str]) -> str:
    """Charts below one another as one SVG."""
    inner = [
        panel.replace("<svg ", f'<svg y="{n * HEIGHT}" width="{WIDTH}" height="{HEIGHT}" ', 1)
        for n, panel in enumerate(panels)
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT * len(panels)}">'
    return "\n".join([head, *inner, "</svg>", ""])


def ticks(most: float, unit: str = "") -> dict[float, str]:
    """Round values from 0 to a little more than the most."""
    most = max(most, 1.0)
    step = 10 ** math.floor(math.log10(most))
    step = next(step * m for m in (0.2, 0.5, 1.0, 2.0) if step * m * 5 >= most)
    return {n * step: f"{n * step:g}{unit}" for n in range(math.ceil(most / step) + 1)}


def over_time(lines: Lines, seconds: float, title: str, unit: str = "") -> str:
    """A panel with minutes along its foot."""
    lines = {name: pieces for name, pieces in lines.items() if all(pieces)}
    most = max(y for pieces in lines.values() for points in pieces for _, y in points)
    minutes = {60.0 * n: f"{n} min" for n in range(math.ceil(seconds / 60) + 1)}
    return chart(lines, minutes, ticks(most, unit), title, (float, float))


def rates(samples: Sequence[Mapping[str, Any]], start: float) -> Points:
    """Blocks a second, each over the last seconds."""
    return [
        (b["at"] - start, (b["done"] - a["done"]) / (b["at"] - a["at"]))
        for a, b in zip(samples, samples[SMOOTH_SECONDS:], strict=False)
    ]


def bursts(run: Mapping[str, Any]) -> str:
    """Backlog, workers, throughput, latency and memory over time."""
    start = run["started"]
    samples = [s for s in run["samples"] if s["at"] >= start]
    seconds = samples[-1]["at"] - start

    def of(name: str) -> list[Points]:
        return [[(s["at"] - start, s[name]) for s in samples]]

    latency = [[(at - start, value) for at, value in run["latencies"]]]
    memory: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for name, seen in run["memory"].items():
        service = name.split(":")[0]
        for at, mib in seen:
            if at >= start:
                memory[_kind(service)][round(at - start)] += mib
    largest = sorted(memory, key=lambda name: -max(memory[name].values()))[:4]
    return stacked(
        [
            over_time({"blocks": of("waiting")}, seconds, "Blocks that wait"),
            over_time({"wanted": of("wanted"), "running": of("workers")}, seconds, "Workers"),
            over_time({"blocks/s": [rates(samples, start)]}, seconds, "Blocks finished a second"),
            over_time({"a job": latency}, seconds, "From when a job was due to its first block", " s"),
            over_time(
                {name: [sorted(memory[name].items())] for name in largest}, seconds,
                "Memory of their own, all processes of a kind together", " MiB",
            ),
        ]
    )  # fmt: skip


def _kind(service: str) -> str:
    return service.rstrip("0123456789").rstrip("-") if service.startswith("dask-worker") else service


def overload(run: Mapping[str, Any]) -> str:
    """What waits, what is open, and what becomes of requests, over time."""
    start, over, *_ = run["times"]
    samples = run["samples"]
    seconds = samples[-1]["at"] - start
    tenants = sorted({tenant for s in samples for tenant in s["deferred"]})
    waiting = {t: [[(s["at"] - start, s["deferred"].get(t, 0)) for s in samples]] for t in tenants}
    minute: dict[bool, dict[float, int]] = {True: defaultdict(int), False: defaultdict(int)}
    for due, taken, *_ in run["sent"]:
        minute[taken][30.0 * int((due - start) / 30)] += 1
    done: dict[float, int] = defaultdict(int)
    for job in run["jobs"]:
        done[30.0 * int((job["finished_at"] - start) / 30)] += 1
    fates = {"refused": minute[False], "taken": minute[True], "done": done}
    return stacked(
        [
            over_time({n: [sorted(f.items())] for n, f in fates.items()}, seconds, "Requests in 30 s"),
            over_time(waiting, seconds, f"Jobs that wait (requests end after {over - start:.0f} s)"),
            over_time(
                {"characters": [[(s["at"] - start, s["open_characters"]) for s in samples]]}, seconds,
                "Characters that want a translation",
            ),
        ]
    )  # fmt: skip


def scalability(run: Mapping[str, Any]) -> str:
    """Throughput against workers, both logarithmic, with the law and with what no limit at all would give."""
    law, points = Law(**run["law"]), run["points"]
    numbers = [p["workers"] for p in points]
    most = max(numbers)
    fine = [2 ** (n / 4) for n in range(round(4 * math.log2(most)) + 1)]
    lines = {
        "linear": [[(n, law.rate * n) for n in (1, most)]],
        "the law": [[(n, law.at(n)) for n in fine]],
        "measured": [[(p["workers"], p["batches_per_second"]) for p in points]],
    }
    top = 2 ** math.ceil(math.log2(law.rate * most))
    heights = {float(top) / 2**n: f"{top / 2**n:g}/s" for n in range(round(math.log2(top / law.rate)) + 2)}
    return chart(lines, {n: f"{n}" for n in numbers}, heights, "Batches a second against workers", (logarithm,) * 2)


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    pictures = {
        "load": ("load-bursts", bursts),
        "overload": ("load-overload", overload),
        "usl": ("scalability", scalability),
    }
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["what"] in pictures:
            name, draw = pictures[record["what"]]
            (folder / f"{name}.svg").write_text(draw(record["value"]), encoding="utf-8")
