"""Segments, characters and tokens a second, per engine and size of the batch, on one core (`make bench`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from sentencepiece import SentencePieceProcessor

from benchmarks.engine_rates import Rate, Work, measured
from fixtures import chat, seq2seq
from fixtures.marian import INCLUDE, real_english, real_files
from tradu.inference import clauses
from tradu.inference.engines._neural import LONGEST_CHARS
from tradu.inference.engines._vocabulary import alphabet
from tradu.inference.model import Model
from tradu.inference.registry import load_registry
from tradu.settings import Settings

BATCHES = (1, 8, 32, 256)
"""A worker claims about 256 sentences at once."""
SECONDS, SLOW_SECONDS = 2.0, 15.0
"""A measurement takes about as long, the second of networks of OPUS-MT's size."""
ANSWER_TOKENS = 32


def vocabulary() -> Path:
    """Of Firefox's model: as large as those of OPUS-MT. It counts the tokens of all engines."""
    return real_files().source_vocabulary


def work(model: Model, texts: Sequence[str], seconds: float = SECONDS) -> Work:
    """Translating these texts, at most all of them at once."""
    tokens = [len(ids) + 1 for ids in SentencePieceProcessor(model_file=str(vocabulary())).encode(list(texts))]
    return Work(model, tuple(texts), tuple(tokens), tuple(n for n in BATCHES if n <= len(texts)), seconds)


def installed() -> Iterator[Work]:
    """What runs on published models."""
    registry, texts = load_registry(Settings(include=INCLUDE)), real_english(1_024)
    for name in ("identity", "firefox-en-pt", "apertium-en-es"):
        model = registry.model(name)
        if registry.status(model).installed:
            yield work(model, texts)
        else:
            print(f"{name} is NOT MEASURED: {registry.status(model).how_to_add}")


def made_up(folder: Path) -> Iterator[Work]:
    """What runs on networks with made-up weights: their speed is that of any other of their size."""
    if not (seq2seq.there("ctranslate2") and chat.there()):
        print("ctranslate2, transformers and openai are NOT MEASURED: make test-engines fetches them for make bench")
        return
    known = alphabet(vocabulary().read_bytes())
    texts = [text for text in dict.fromkeys(real_english(1_024)) if _goes_whole(text, known)]
    made = seq2seq.make_large(folder / "opus-mt", vocabulary())
    converted = seq2seq.convert(made, folder / "converted", "int8")
    yield work(seq2seq.entry("ctranslate2", converted, kind="opus-mt"), texts[:256], SLOW_SECONDS)
    yield work(seq2seq.entry("transformers", made, kind="opus-mt"), texts[:32], SLOW_SECONDS)
    llama = chat.make(folder / "llama", ANSWER_TOKENS)
    with chat.serve(llama) as url:
        yield work(replace(seq2seq.entry("openai", llama, url=url, model=str(llama)), weights=""), texts[:32])


def _goes_whole(text: str, known: frozenset[str]) -> bool:
    """Whether the network reads it as it is: in one piece, and no word has to be carried around it."""
    return known.issuperset(text.replace(" ", "")) and len(clauses.pieces(text, "en", LONGEST_CHARS)) == 1


@contextmanager
def one_core() -> Iterator[None]:
    """This process, and those it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.timeout(600)
def test_engines(tmp_path: Path) -> None:
    rows: dict[str, dict[int, Rate]] = {}
    print("\n| engine | at once | segments/s | characters/s | tokens/s | CPU, ms a segment | load, s | peak, MB |")
    print("| --- |" + " ---: |" * 7)
    with one_core():
        for each in chain(installed(), made_up(tmp_path)):  # the server runs as long as it is measured
            found = measured(each)
            rows[each.model.engine] = {rate.at_once: rate for rate in found.rates}
            for r in found.rates:
                print(
                    f"| {each.model.engine} | {r.at_once} | {r.segments:,.1f} | {r.characters:,.0f} | {r.tokens:,.0f} "
                    f"| {r.cpu_ms:,.2f} | {found.load_seconds:.2f} | {r.peak_mb:,.0f} |",
                    flush=True,
                )
    firefox = rows["firefox"]
    assert rows["identity"][1].segments > 100 * firefox[1].segments
    assert firefox[32].segments > firefox[1].segments
    if "ctranslate2" in rows:
        assert rows["ctranslate2"][32].cpu_ms < rows["transformers"][32].cpu_ms
