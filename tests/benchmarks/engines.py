"""Measures each installed model: CPU seconds per million characters and memory, for include/models.yaml.

Run it on an idle machine: python tests/benchmarks/engines.py [MODEL...]
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from pydoc_data import topics

from tradu.inference import clauses
from tradu.inference.model import Engine, Model
from tradu.inference.pool import EnginePool
from tradu.inference.registry import Registry, load_registry
from tradu.inference.translate import Verdict, translate

SENTENCES = 800


def sentences(registry: Registry, model: Model, pool: EnginePool) -> list[str]:
    """Real English of Python's own documentation, translated first where the model reads another language."""
    text = " ".join(" ".join(topics.topics.values()).split())
    english = [s.strip() for s in clauses.sentences(text, "en") if 20 < len(s) < 300 and "  " not in s][:SENTENCES]
    if model.source in ("en", "*"):
        return english
    routes = registry.routes("en", model.source, "economy")
    return [outcome.text for outcome in translate(english, routes[:1], lambda _s, _m, _t: Verdict(()), pool)]


def children(engine: Engine) -> list[int]:
    """The processes of an engine that has any."""
    pipeline = getattr(engine, "_pipeline", None)
    return [process.pid for process in pipeline._processes] if pipeline else []


def cpu_seconds(engine: Engine) -> float:
    """CPU time of this process and the engine's."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = time.process_time()
    for pid in children(engine):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def memory_mb(pid: int) -> float:
    """Proportional memory of a process, MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def measure(name: str) -> None:
    """Print one line for a model."""
    registry, pool = load_registry(), EnginePool()
    model = registry.model(name)
    texts = sentences(registry, model, pool)
    pool.close()
    before = memory_mb(os.getpid())
    engine = pool.get(model)
    engine.translate(texts[:5])
    start, begun = cpu_seconds(engine), time.perf_counter()
    engine.translate(texts)
    spent, wall = cpu_seconds(engine) - start, time.perf_counter() - begun
    memory = memory_mb(os.getpid()) - before + sum(map(memory_mb, children(engine)))
    rate = spent / sum(map(len, texts)) * 1e6
    print(f"{name:22} {rate:8.2f} CPU s per million chars {len(texts) / wall:8.0f} sentences/s {memory:6.0f} MB")


def main() -> None:
    """Each model in a process of its own, so that memory counts from nothing."""
    registry = load_registry()
    named = sys.argv[1:]
    if len(named) == 1:
        measure(named[0])
        return
    for name in named or [m.name for m in registry.models() if registry.status(m).installed]:
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    main()
