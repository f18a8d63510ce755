"""The line against its engine: what the pipeline costs in time, and what it does to quality (`make bench`)."""

from __future__ import annotations

import json
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from pydoc_data.topics import topics

import pyarrow.parquet as pq
import pytest
from sacrebleu.metrics import CHRF

from benchmarks import parallel
from fixtures.line import Line
from tradu.inference import engines
from tradu.inference.model import Engine
from tradu.inference.registry import load_registry

WORKERS = 2
MODEL = "firefox-en-pt"


@lru_cache(maxsize=1)
def _engine() -> Engine:
    return engines.load(load_registry().model(MODEL))


def _engine_alone(texts: list[str]) -> list[str]:
    """The engine and nothing else, loaded once a process."""
    return _engine().translate(texts)


def _sources(line: Line, job: str) -> list[str]:
    """The distinct segments of a job, as its workers read them."""
    folder = Path(line.store.path(f"blocks/{job}"))
    tables = [pq.read_table(part, columns=["source"]) for part in sorted(folder.glob("part-*.parquet"))]
    return list(dict.fromkeys(text for table in tables for text in table.column("source").to_pylist()))


def test_share_of_infer_that_is_engine(the_line: Line) -> None:
    the_line.put({"warm.txt": "\n\n".join(f"The workers load their model for sentence {n}." for n in range(200))})
    the_line.run("warm", source="en")  # a stack's workers are warm: what they import is not what is measured
    (the_line.folder / "landing" / "warm.txt").unlink()
    the_line.put({"topics.txt": "\n\n".join(topics[name] for name in sorted(topics))})
    job = the_line.admit(source="en")
    shards = the_line.prepare(job)
    started = time.perf_counter()
    the_line.infer(job, shards, seconds=600)
    line_seconds = time.perf_counter() - started
    texts = _sources(the_line, job)
    started = time.perf_counter()
    with ProcessPoolExecutor(WORKERS) as pool:
        # dealt out in small portions, as batches are, so that neither process waits long for the other
        portions = [texts[n : n + 100] for n in range(0, len(texts), 100)]
        done = sum(map(len, pool.map(_engine_alone, portions)))
    engine_seconds = time.perf_counter() - started
    print(
        f"\n{done} segments, {sum(map(len, texts))} characters, {WORKERS} processes: "
        f"engine alone {engine_seconds:.1f} s, infer {line_seconds:.1f} s, ratio {engine_seconds / line_seconds:.2f}"
    )
    assert done == len(texts)


def test_quality_of_the_line_against_the_engine_alone(the_line: Line, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("catalogues")
    parallel.fetch(folder)
    known = parallel.pairs(folder)
    assert len(known) >= 1_000
    the_line.put({"pairs.jsonl": "".join(json.dumps({"text": source}) + "\n" for source, _ in known)})
    job, state = the_line.run(source="en", options={"fields": ["text"]})
    rows = the_line.output(job, "pairs.jsonl").decode().splitlines()
    line_texts = [json.loads(row)["text"] for row in rows]
    alone = _engine_alone([source for source, _ in known])
    references = [[human for _, human in known]]
    line_score, alone_score = (CHRF().corpus_score(texts, references).score for texts in (line_texts, alone))
    kept = sum(a == b for (a, _), b in zip(known, line_texts, strict=True))
    print(
        f"\n{len(known)} pairs: chrF of the line {line_score:.2f}, of the engine alone {alone_score:.2f}; job {state}, "
        f"{kept} texts stay in English; {the_line.errors(job)}"
    )
    assert line_score > alone_score - 1
