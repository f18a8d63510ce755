"""How fast an engine is for each size of the batch, in a process of its own, so that memory counts from nothing.

Made-up weights never end a sentence, so their models are held to its length: as many tokens come out as go in. That
makes the work that of a real translation, to which nothing else about the weights matters.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from fixtures.seq2seq import MADE_UP
from tradu.inference import engines
from tradu.inference.engines import _sequences, transformers
from tradu.inference.engines._neural import Runs
from tradu.inference.made import Made
from tradu.inference.measure import cpu_seconds
from tradu.inference.model import Engine, Model
from tradu.inference.translate import SaysMore

WARM = 2
"""Texts that are translated before anything is measured."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be measured."""

    model: Model
    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    """Of each text, its end counted."""
    at_once: tuple[int, ...]
    """The sizes of the batch."""
    seconds: float
    """No batch begins later; an engine that is fast enough translates all texts sooner."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One size of the batch."""

    at_once: int
    segments: float
    """A second, as all rates."""
    characters: float
    tokens: float
    """Of the source."""
    cpu_ms: float
    """CPU time of a segment, milliseconds: of this process and of those that the engine started."""
    peak_mb: float
    """The most memory so far that each of these processes had resident, summed."""


@dataclass(frozen=True, slots=True)
class Found:
    """An engine's load time and rates."""

    load_seconds: float
    """Until it can translate, imports included."""
    rates: tuple[Rate, ...]


def measured(work: Work) -> Found:
    """Measure in a fresh process."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-c", f"from {__name__} import main; main()"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, input=pickle.dumps(work), stdout=subprocess.PIPE, env=environment, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return Found(found["load_seconds"], tuple(Rate(**rate) for rate in found["rates"]))


def main() -> None:
    """What the process does: reads work, writes what it found."""
    print(json.dumps(asdict(_measure(pickle.load(sys.stdin.buffer)))))


def held_runs(model: Model) -> Runs:
    """The model of the engine `transformers`, in the child that runs it."""
    _hold_length()
    return transformers.runs(model)


def _hold_length() -> None:
    """End translations at the length of their sources."""
    _sequences.TIMES_TOKENS, _sequences.MORE_TOKENS = 1, 0


def _measure(work: Work) -> Found:
    if work.model.licence == MADE_UP:
        _hold_length()
        transformers.runs = held_runs  # what the engine tells its child to build
    begun = time.perf_counter()
    engine = engines.load(work.model)
    loaded = time.perf_counter() - begun
    try:
        engine.translate(work.texts[:WARM])
        return Found(loaded, tuple(_rate(engine, work, size) for size in work.at_once))
    finally:
        engine.close()


def _rate(engine: Engine, work: Work, size: int) -> Rate:
    translate = engine.translate_with_evidence if isinstance(engine, SaysMore) else engine.translate
    said: list[Made | str] = []
    cpu, begun = cpu_seconds(), time.perf_counter()
    while len(said) < len(work.texts) and time.perf_counter() - begun < work.seconds:
        said += translate(work.texts[len(said) : len(said) + size])
    spent, cpu = time.perf_counter() - begun, cpu_seconds() - cpu
    done = len(said)
    characters, tokens = sum(map(len, work.texts[:done])), sum(work.tokens[:done])
    if work.model.licence == MADE_UP:
        _look_at(said, work.tokens[:done])
    return Rate(size, done / spent, characters / spent, tokens / spent, cpu / done * 1e3, _peak_mb())


def _look_at(said: Sequence[Made | str], tokens: Sequence[int]) -> None:
    """A translation that failed, or was not held to its length, would spoil the measurement."""
    for made, count in zip(said, tokens, strict=True):
        assert isinstance(made, Made)
        assert not made.failure, made.failure
        assert made.likelihood is None or made.likelihood.tokens == count + 1, made  # the end is scored, not written


def _peak_mb() -> float:
    own, total = psutil.Process(), 0
    for process in [own, *own.children(recursive=True)]:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        total += int(found[1]) if found else 0
    return total * 1024 / 1e6
