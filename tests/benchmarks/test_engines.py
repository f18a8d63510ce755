"""Segments and characters a second, per engine and size of the batch, on one core (`make bench`)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures import seq2seq
from fixtures.marian import INCLUDE, real_english
from tradu.inference import engines
from tradu.inference.model import Model
from tradu.inference.registry import load_registry
from tradu.settings import Settings

BATCHES = (1, 8, 32, 128)
SECONDS = 2.0
"""Each measurement takes about as long."""


def models(folder: Path) -> Iterator[tuple[Model, int]]:
    """Those that are here, with the number of texts that they may be asked for."""
    registry = load_registry(Settings(include=INCLUDE))
    for name in ("identity", "firefox-en-pt", "apertium-en-es"):
        model = registry.model(name)
        if registry.status(model).installed:
            yield model, 1_024
        else:
            print(f"{name} is NOT MEASURED: {registry.status(model).how_to_add}")
    if not seq2seq.there("ctranslate2"):
        print("ctranslate2 and transformers are NOT MEASURED: make test-engines fetches them")
        return
    made = seq2seq.make_large(folder / "opus-mt")
    converted = seq2seq.convert(made, folder / "converted", "int8")
    yield seq2seq.entry("ctranslate2", converted, kind="opus-mt", beam="1"), 8  # they never end: slow
    yield seq2seq.entry("transformers", made, kind="opus-mt", beam="1"), 8


@contextmanager
def one_core() -> Iterator[None]:
    """This process, and those it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure(model: Model, texts: list[str]) -> dict[int, tuple[float, float]]:
    """For each size of the batch: segments and characters a second."""
    rates = {}
    engine = engines.load(model)
    engine.translate(texts[:2])
    for size in (size for size in BATCHES if size <= len(texts)):
        done, begun = 0, time.perf_counter()
        while done < len(texts) and time.perf_counter() - begun < SECONDS:
            engine.translate(texts[done : done + size])
            done += size
        spent = time.perf_counter() - begun
        rates[size] = min(done, len(texts)) / spent, sum(map(len, texts[:done])) / spent
    engine.close()
    return rates


@pytest.mark.timeout(600)
def test_engines(tmp_path: Path) -> None:
    texts = real_english(1_024)
    rows = {}
    print("\n| engine | " + " | ".join(f"{size} at once" for size in BATCHES) + " |")
    print("| --- |" + " --- |" * len(BATCHES))
    with one_core():
        for model, count in models(tmp_path):
            rows[model.name] = measure(model, texts[:count])
            cells = [f"{s:,.1f} ({c:,.0f})" for s, c in rows[model.name].values()]
            print(f"| {model.name} | " + " | ".join(cells) + " |", flush=True)
    firefox = rows["firefox-en-pt"]
    assert rows["identity"][1][0] > 100 * firefox[1][0]
    assert firefox[32][0] > firefox[1][0]
