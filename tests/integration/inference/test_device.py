"""The batched engine on a device of PyTorch: a GPU, or where there is none the same code on the processor."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sacrebleu.metrics import CHRF

from fixtures.marian import Tiny, model_bytes, real_english, real_files, real_model, shortlist_bytes, written
from tradu.errors import ModelError, ResourceError
from tradu.inference import engines
from tradu.inference.marian import Translator
from tradu.inference.marian.network import Network
from tradu.inference.marian.shortlist import read_shortlist

if TYPE_CHECKING:
    from tradu.inference.marian.device_search import DeviceSearch

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="NOT TESTED without PyTorch: make test-torch")
SOURCES = [[5, 6, 7, 0], [8, 0], [*range(9, 26), 0], [30, 31, 0], [*range(40, 90), 0]]


def where() -> str:
    import torch

    torch.set_num_threads(1)  # its threads wait spinning, which is slow beside other work
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def device() -> Translator:
    return Translator(real_files(), device=where())


@pytest.fixture(scope="module")
def english() -> list[str]:
    return real_english(60)


def searched(tmp_path: Path, lists: list[list[int]] | None = None) -> DeviceSearch:
    from tradu.inference.marian.device_search import DeviceSearch

    network = Network(written(tmp_path, model_bytes(Tiny(dim=64, heads=4, hidden=96))))
    network.use_vocabulary(0, shared=True)
    if lists:
        network.use_shortlist(read_shortlist(written(tmp_path, shortlist_bytes(lists, 3), "lex.bin"), 100))
    return DeviceSearch(network, where())


@pytest.mark.parametrize("beam", [1, 3])
def test_alone_and_among_others(tmp_path: Path, beam: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal but for the last bits, in which PyTorch lets a row's place in the batch be seen."""
    from tradu.inference.marian import device_search

    monkeypatch.setitem(device_search.LANES, where(), 12)  # few, so that sentences take the lanes of others
    search = searched(tmp_path)
    limits = [2 * len(source) + 4 for source in SOURCES]
    together = search.translate(SOURCES * 9, limits * 9, beam, False)
    alone = [search.translate([s], [n], beam, False)[0] for s, n in zip(SOURCES, limits, strict=True)]
    best = [(a[0], b[0]) for a, b in zip(together, alone * 9, strict=True)]
    equal = [(a, b) for a, b in best if a.tokens.tolist() == b.tokens.tolist()]
    assert len(equal) >= 0.9 * len(best)
    assert all(np.allclose(a.log_probabilities, b.log_probabilities, atol=1e-3) for a, b in equal)
    assert all(len(each) == beam for each in together)
    assert all(len(f.tokens) <= n for each, n in zip(together, limits * 9, strict=True) for f in each)


def test_words_are_the_same_alone_and_among_others(device: Translator, english: list[str]) -> None:
    together = device.translate(english)
    assert sum(device.translate([t])[0].text == m.text for t, m in zip(english, together, strict=True)) >= 58


def test_a_sentence_uses_its_own_words_only(tmp_path: Path) -> None:
    lists = [[50 + word % 40] for word in range(100)]
    found = searched(tmp_path, lists).translate(SOURCES, [20] * len(SOURCES), 2, False)
    for source, each in zip(SOURCES, found, strict=True):
        allowed = {0, 1, 2, *source, *(word for i in source for word in lists[i])}
        more = 3
        while len(allowed) % 8:
            allowed.add(more)
            more += 1
        assert all(set(f.tokens.tolist()) <= allowed for f in each)


def test_it_says_what_the_kernel_says(device: Translator, english: list[str]) -> None:
    """The kernel rounds activations to 8 bits, a device does not: most sentences are equal all the same."""
    kernel = [made.text for made in Translator(real_files()).translate(english)]
    made = device.translate(english)
    assert CHRF().corpus_score([m.text for m in made], [kernel]).score > 94
    assert sum(m.text == k for m, k in zip(made, kernel, strict=True)) > len(english) / 2
    for best in (m.hypotheses[0] for m in made):
        assert best.complete
        assert len(best.log_probabilities) == len(best.tokens) + 1
        assert best.score == pytest.approx(np.mean(best.log_probabilities), abs=1e-3)


def test_n_best_and_alignment(device: Translator, english: list[str]) -> None:
    kernel = Translator(real_files()).translate(english[:20], beam=4, alignment=True)
    near = 0
    for made, other in zip(device.translate(english[:20], beam=4, alignment=True), kernel, strict=True):
        scores = [h.score for h in made.hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert len({h.tokens for h in made.hypotheses}) == 4
        best, same = made.hypotheses[0], other.hypotheses[0]
        assert best.alignment is not None
        assert same.alignment is not None
        assert best.alignment.shape == (len(best.log_probabilities), len(made.source_tokens))
        assert np.allclose(best.alignment.sum(axis=1), 1, atol=1e-3)
        if best.tokens == same.tokens:
            near += bool((best.alignment.argmax(1) == same.alignment.argmax(1)).mean() > 0.9)
    assert near >= 8


def test_what_it_made_is_scored_as_it_was_made(device: Translator, english: list[str]) -> None:
    made = device.translate(english, alignment=True)
    ended = [[*m.hypotheses[0].tokens, 0] for m in made]
    scored = device.score_tokens([m.source_tokens for m in made], ended, alignment=True)
    for before, after in zip(made, scored, strict=True):
        (one,), best = after.hypotheses, before.hypotheses[0]
        assert (one.tokens, one.complete) == (best.tokens, True)
        assert np.allclose(one.log_probabilities, best.log_probabilities, atol=1e-3)
        assert one.alignment is not None
        assert best.alignment is not None
        assert np.allclose(one.alignment, best.alignment, atol=1e-2)


def test_given_translations_are_about_as_probable_as_the_kernel_says(device: Translator, english: list[str]) -> None:
    given = [m.text for m in device.translate(english[1:])]  # each of another text: most words are no shortlist's
    kernel = Translator(real_files()).score(english[:-1], given)
    for ours, its in zip(device.score(english[:-1], given), kernel, strict=True):
        assert ours.hypotheses[0].tokens == its.hypotheses[0].tokens
        assert ours.hypotheses[0].score == pytest.approx(its.hypotheses[0].score, abs=0.6)
    assert device.score([], []) == []
    with pytest.raises(ModelError, match="does not know"):
        device.score_tokens([[5, 0]], [[-1, 0]])


def test_the_engine_takes_it_as_a_backend() -> None:
    model = real_model()
    engine = engines.load(replace(model, options={**model.options, "backend": "torch", "device": where()}))
    made = engine.translate(["The library opens at nine.", "", "Press \ue000 to go on.", "word " * 400])
    assert "biblioteca" in made[0]
    assert made[1] == ""
    assert "\ue000" in made[2]
    assert len(made[3]) > 1_000


def test_with_short_memory_it_goes_on_with_fewer_lanes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from tradu.inference.marian import device_search

    made, tried = device_search._Lanes, []

    def roomless(network: object, count: int, *key: object) -> object:
        tried.append(count)
        if count > room:
            raise torch.OutOfMemoryError("no room")
        return made(network, count, *key)  # type: ignore[arg-type]

    monkeypatch.setitem(device_search.LANES, where(), 256)
    monkeypatch.setattr(device_search, "_Lanes", roomless)
    room = 64
    search = searched(tmp_path)
    assert all(search.translate(SOURCES, [20] * len(SOURCES), 1, False))
    assert tried[:4] == [256, 128, 64, 64]
    room = 0
    with pytest.raises(ResourceError, match="out of memory"):
        searched(tmp_path).translate(SOURCES, [20] * len(SOURCES), 1, False)


def test_ids_outside_the_vocabulary_are_refused(tmp_path: Path) -> None:
    for bad in (-1, 100):
        with pytest.raises(ModelError, match="does not know"):
            searched(tmp_path).translate([[5, 0], [bad, 0]], [9, 9], 1, False)


def test_no_such_device_is_a_clear_error() -> None:
    for wrong in ("cuda:99", "abacus"):
        with pytest.raises(ModelError, match=f"can't use the device '{wrong}'"):
            Translator(real_files(), device=wrong)
