"""Marian itself as a row of the benchmark: pymarian with the same weights in float32, in an interpreter of its own.

pymarian's wheel has 604 MB, so it is no dependency of ours. Put it into an environment anywhere
(`python -m venv DIR && DIR/bin/pip install pymarian`), and name its interpreter in TRADU_BENCH_MARIAN_PYTHON.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tradu.inference.marian import Files
from tradu.inference.marian.format import DESCRIPTION, FLOAT32, INTGEMM8, File

VARIABLE = "TRADU_BENCH_MARIAN_PYTHON"
_PROGRAM = """
import json, sys, time
from pymarian import Translator
model, vocabulary, shortlist, batch, texts = json.load(open(sys.argv[1]))
translator = Translator(models=model, vocabs=[vocabulary, vocabulary], beam_size=1, mini_batch=batch, maxi_batch=1000,
    maxi_batch_sort="src", workspace=500, cpu_threads=1, shortlist=[shortlist, "false"])
translator.translate(texts[:4])
start = time.perf_counter()
made = translator.translate(texts)
json.dump([time.perf_counter() - start, made], open(sys.argv[2], "w"))
"""


def interpreter() -> str | None:
    """The Python that has pymarian, if somebody named one."""
    return os.environ.get(VARIABLE)


def write_float32(model: Path, to: Path) -> None:
    """The same weights as a Marian .npz: 8-bit values divided by their multiplier, matrices turned back."""
    file = File(model)
    tensors: dict[str, np.ndarray] = {}
    for name, item in file.items.items():
        if name.endswith("_QuantMultA"):
            continue
        if item.kind == INTGEMM8:
            values, multiplier = file.weights(name, item.shape)
            rows, columns = item.shape
            # embeddings lie as they are, other matrices transposed
            matrix = values.reshape(item.shape) if name.endswith("Wemb") else values.reshape(columns, rows).T
            tensors[name] = np.ascontiguousarray(matrix, np.float32) / np.float32(multiplier)
        elif item.kind == FLOAT32:
            tensors[name] = file.floats(name, item.elements).reshape(item.shape)
    text = file.text(DESCRIPTION).encode() + b"\0"
    tensors[DESCRIPTION] = np.frombuffer(text, np.int8)
    np.savez(to, **tensors)  # type: ignore[arg-type]  # numpy's stub takes the names for its own options


def translate(files: Files, texts: Sequence[str], batch: int) -> tuple[float, list[str]]:
    """Seconds and translations of batched Marian on one core."""
    python = interpreter()
    assert python is not None
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_float32(files.model, folder / "model.npz")
        task = [str(folder / "model.npz"), str(files.source_vocabulary), str(files.shortlist), batch, list(texts)]
        (folder / "task.json").write_text(json.dumps(task))
        command = ["taskset", "-c", "0", python, "-c", _PROGRAM, str(folder / "task.json"), str(folder / "made.json")]
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
        seconds, made = json.loads((folder / "made.json").read_text())
    return float(seconds), [str(text) for text in made]
