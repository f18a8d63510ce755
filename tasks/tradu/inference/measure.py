"""What a model costs on this machine: seconds per million characters, and memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics

import psutil

from tradu.errors import ModelError, RequestError
from tradu.inference import clauses, weights
from tradu.inference.languages import ANY, base
from tradu.inference.model import Model
from tradu.inference.pool import EnginePool
from tradu.inference.registry import Registry
from tradu.inference.translate import Verdict, translate

SENTENCES = 400
_SHORTEST, _LONGEST = 20, 300


@dataclass(frozen=True, slots=True)
class Measured:
    """A model on this machine, one call with all sentences."""

    model: str
    device: str
    sentences: int
    characters: int
    load_seconds: float
    seconds: float
    """By the clock."""
    cpu_seconds: float
    """Of this process and of those that the engine started."""
    memory_mb: float
    """Taken by loading and translating, the engine's own processes included; shared pages count by their share."""

    @property
    def seconds_per_million_chars(self) -> float:
        """CPU seconds; on a GPU seconds of the clock, in which it is taken."""
        return (self.seconds if self.device == "cuda" else self.cpu_seconds) / self.characters * 1e6


def english(count: int) -> list[str]:
    """Real sentences: Python's own documentation."""
    text = " ".join(" ".join(topics.topics.values()).split())
    found = [s.strip() for s in clauses.sentences(text, "en") if _SHORTEST < len(s) < _LONGEST]
    return found[:count]


def texts_for(model: Model, registry: Registry, count: int = SENTENCES) -> list[str]:
    """Sentences in the language that a model reads, translated from English first where it is another one.

    Raises:
        RequestError: no model leads from English to it.
    """
    sentences = english(count)
    if model.source == ANY or base(model.source) == "en":
        return sentences
    routes = registry.routes("en", model.source, "economy")
    pool = EnginePool()
    try:
        return [made.text for made in translate(sentences, routes[:1], lambda _s, _m, _t: Verdict(()), pool)]
    except ModelError as error:
        raise RequestError(f"no sentences to measure {model.name} with: {error}") from error
    finally:
        pool.close()


def measure(model: Model, texts: Sequence[str]) -> Measured:
    """Load a model and translate with it.

    Raises:
        ModelError: it can't be loaded, or fails.
    """
    if model.weights:
        weights.fetch(model)  # what that takes is not the model's
    pool, before = EnginePool(), _memory_mb()
    try:
        started = time.perf_counter()
        engine = pool.get(model)
        engine.translate(texts[:5])
        loaded = time.perf_counter()
        cpu = cpu_seconds()
        engine.translate(texts)
        ended = time.perf_counter()
        spent = cpu_seconds() - cpu
        memory = _memory_mb() - before
    finally:
        pool.close()
    return Measured(
        model.name,
        model.device,
        len(texts),
        sum(map(len, texts)),
        loaded - started,
        ended - loaded,
        spent,
        max(0.0, memory),
    )


def _processes() -> list[psutil.Process]:
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


def cpu_seconds() -> float:
    """CPU time of this process and its children."""
    times = [process.cpu_times() for process in _processes()]
    return float(sum(each.user + each.system for each in times))


def _memory_mb() -> float:
    """Proportional memory of this process and its children, MB."""
    total = 0
    for process in _processes():
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total * 1024 / 1e6


def write_fields(measured: Measured) -> dict[str, float | int]:
    """The fields of an entry that a measurement fills."""
    rate, memory = round(measured.seconds_per_million_chars, 2), max(1, round(measured.memory_mb))
    if measured.device == "cuda":
        return {"gpu_seconds_per_million_chars": rate}
    return {"cpu_seconds_per_million_chars": rate, "memory_mb": memory}
