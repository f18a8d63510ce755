"""What sorting by length, translating duplicates once and loading ahead are worth, and what memory a worker takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client, LocalCluster

from fixtures.marian import real_english, real_files
from tradu.cluster import segments, warm
from tradu.inference.marian import Translator, kernel_search
from tradu.inference.registry import load_registry
from tradu.inference.translate import Verdict, translate

REPEATS = 5
SENTENCES = 512
BATCH_CHARACTERS = 32_000


@dataclass(frozen=True)
class Pair:
    """The same work done in two ways."""

    what: str
    without: float
    """Seconds, the best of some."""
    having: float

    def text(self) -> str:
        """As a row of a table."""
        return f"| {self.what} | {self.without:.3f} | {self.having:.3f} | {self.without / self.having:.2f} |"


def best(do: Callable[[], object]) -> float:
    """Seconds of the quickest of some runs."""
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        do()
        taken.append(time.perf_counter() - started)
    return min(taken)


def sorting(translator: Translator) -> list[Pair]:
    """The longest first, against the worst order and the order in which the text comes."""
    texts = real_english(SENTENCES)
    ascending = sorted(texts, key=len)
    made = [best(lambda texts=texts: translator.translate(texts)) for texts in (texts, ascending)]  # type: ignore[misc]
    usual = kernel_search.longest_first
    kernel_search.longest_first = lambda lengths: np.arange(len(lengths), dtype=np.int32)
    try:
        as_it_comes = best(lambda: translator.translate(texts))
        worst = best(lambda: translator.translate(ascending))
    finally:
        kernel_search.longest_first = usual
    return [
        Pair(f"{SENTENCES} sentences, in the order of the text", as_it_comes, made[0]),
        Pair(f"{SENTENCES} sentences, the shortest first", worst, made[1]),
    ]


def duplicates(translator: Translator) -> list[Pair]:
    """Each text once, against each as often as it comes, as in a table's cells."""
    rows = []
    for copies in (1, 2, 5):
        distinct = real_english(SENTENCES // copies)
        texts = distinct * copies
        rows.append(
            Pair(
                f"{len(texts)} texts, {len(distinct)} of them different",
                best(lambda texts=texts: translator.translate(texts)),  # type: ignore[misc]
                best(lambda texts=texts: translator.translate(list(dict.fromkeys(texts)))),  # type: ignore[misc]
            )
        )
    return rows


@dataclass(frozen=True)
class First:
    """The first batch of a worker's process."""

    models: str
    cold_seconds: float
    warm_seconds: float
    usual_seconds: float
    """Of a later batch."""
    load_seconds: float
    """Of the cold worker's first batch, the part that loading took."""
    loads_in_first: int
    """Models that the first batch of the warm worker had to load."""
    before_mb: float
    """The most memory the process had taken before any model."""
    peak_mb: float

    def text(self) -> str:
        """As a row of a table."""
        return (
            f"| {self.models} | {self.cold_seconds:.2f} | {self.load_seconds:.2f} | {self.warm_seconds:.2f} | "
            f"{self.usual_seconds:.2f} | {self.before_mb:.0f} | {self.peak_mb:.0f} |"
        )


def first_batches(routes: Sequence[Sequence[str]]) -> list[First]:
    """A fresh worker each time, once cold and once after it was asked to load ahead."""
    texts = batch_of(BATCH_CHARACTERS)
    rows = []
    for names in routes:
        runs: dict[bool, tuple[float, float, float, int, float, float]] = {}
        for ahead in (False, True):
            with LocalCluster(
                n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
            ) as cluster, Client(cluster) as client:  # fmt: skip
                (address,) = client.scheduler_info()["workers"]
                before: float = client.submit(peak_mb, pure=False).result()
                if ahead:
                    registry = load_registry()
                    identities = [registry.model(name).identity for name in names]
                    assert client.submit(warm.load_models, address, identities).result() == ()
                seconds, loading, loads = client.submit(timed, list(names), texts, pure=False).result()
                usual, *_ = client.submit(timed, list(names), texts, pure=False).result()
                runs[ahead] = (seconds, usual, loading, loads, before, client.submit(peak_mb, pure=False).result())
        cold, prepared = runs[False], runs[True]
        rows.append(First(", ".join(names), cold[0], prepared[0], prepared[1], cold[2], prepared[3], cold[4], cold[5]))
    return rows


def batch_of(characters: int) -> list[str]:
    """So much real text."""
    texts, size = [], 0
    for text in real_english(900):
        if size >= characters:
            break
        texts.append(text)
        size += len(text)
    return texts


def timed(names: list[str], texts: list[str]) -> tuple[float, float, int]:
    """Runs in a worker: seconds a batch takes with each model, those of loading, how many were loaded."""
    pool, started = segments.engines(), time.perf_counter()
    before = pool.held()
    for name in names:
        route = (segments.registry().model(name),)
        translate(texts, [route], lambda _source, _made, _tier: Verdict(()), pool)
    held = pool.held()
    return time.perf_counter() - started, held.load_seconds - before.load_seconds, held.loads - before.loads


def peak_mb() -> float:
    """Runs in a worker: the most memory its process has had, resident, what it shares with others included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


def report() -> dict[str, Any]:
    """Measure and print everything."""
    translator = Translator(real_files())
    found: dict[str, Any] = {"sorting": sorting(translator), "duplicates": duplicates(translator)}
    found["first"] = first_batches([["firefox-en-pt"], ["firefox-en-pt", "firefox-en-pt-reranked"]])
    print("\n| what | without, s | with, s | times |\n| --- | ---: | ---: | ---: |")
    for pair in (*found["sorting"], *found["duplicates"]):
        print(pair.text())
    print(
        f"\n| models; the first batch, {BATCH_CHARACTERS:,} characters | cold, s | to load, s | warm, s | later, s "
        "| memory before, MB | peak, MB |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    for row in found["first"]:
        print(row.text())
    return found
