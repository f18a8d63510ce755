"""The batched engine on real models: one output whatever the batch, and the reference engine's on its numeric path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fxtranslate import Translator as Reference
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import CHRF

from fixtures.marian import real_english, real_files, real_model
from tradu.errors import ModelError
from tradu.inference import engines
from tradu.inference.engines import _firefox_runs
from tradu.inference.made import likelihood_of, together
from tradu.inference.marian import Translation, Translator, kernel, pieces_that_fit
from tradu.inference.marian.build import NoKernelError
from tradu.inference.marian.translator import LONGEST_TOKENS
from tradu.inference.pool import EnginePool
from tradu.inference.translate import SaysMore, Verdict, translate

PATHS = [path for path in kernel.paths() if path != kernel.REFERENCE_PATH]


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(real_files())


@pytest.fixture(scope="module")
def english() -> list[str]:
    return real_english(120)


@pytest.fixture(scope="module")
def alone(translator: Translator, english: list[str]) -> list[Translation]:
    return [translator.translate([text])[0] for text in english]


def numbers(translations: Sequence[Translation]) -> list[list[tuple[object, ...]]]:
    """All that a translation is, to the last bit."""
    return [[(h.tokens, h.log_probabilities, h.score) for h in t.hypotheses] for t in translations]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_batch_order_and_threads_change_nothing(
    translator: Translator, english: list[str], alone: list[Translation], data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(english) - 1), min_size=1, max_size=60))
    threads = data.draw(st.integers(1, 4))
    made = Translator(real_files(), threads=threads) if threads > 1 else translator
    assert numbers(made.translate([english[i] for i in chosen])) == numbers([alone[i] for i in chosen])


@pytest.mark.parametrize("path", PATHS)
def test_every_instruction_set_gives_the_same_bits(path: str, english: list[str], alone: list[Translation]) -> None:
    some = 12 if path == "portable" else 60
    made = Translator(real_files(), path=path).translate(english[:some])
    assert numbers(made) == numbers(alone[:some])


@pytest.mark.parametrize("name", ["firefox-en-pt", "firefox-pt-en"])
def test_it_agrees_with_the_reference_engine(name: str, english: list[str]) -> None:
    own = real_files(name)
    texts = english
    if name == "firefox-pt-en":
        portuguese = [made.text for made in Translator(real_files()).translate(english)]
        texts = [
            t
            for t, ids in zip(portuguese, Translator(own).tokens(portuguese), strict=True)
            if len(ids) <= LONGEST_TOKENS
        ]
    vocabulary = own.source_vocabulary.read_bytes()
    assert own.shortlist is not None
    reference = Reference(own.model.read_bytes(), vocabulary, vocabulary, own.shortlist.read_bytes())
    expected = [str(reference.translate(text)) for text in texts]
    exact = [made.text for made in Translator(own).translate(texts)]
    assert CHRF().corpus_score(exact, [expected]).score > 94
    if kernel.REFERENCE_PATH not in kernel.paths():
        pytest.skip("NOT TESTED: this processor can't repeat the reference's rounding")
    repeated = [made.text for made in Translator(own, path=kernel.REFERENCE_PATH).translate(texts)]
    assert sum(a == b for a, b in zip(repeated, expected, strict=True)) >= 0.98 * len(texts)


def test_log_probabilities_and_scores(alone: list[Translation]) -> None:
    for translation in alone:
        best = translation.hypotheses[0]
        assert best.complete
        assert len(best.log_probabilities) == len(best.tokens) + 1
        assert all(value <= 1e-5 for value in best.log_probabilities)
        assert best.score == pytest.approx(np.mean(best.log_probabilities), abs=1e-5)


def test_n_best(translator: Translator, english: list[str], alone: list[Translation]) -> None:
    better = 0
    together = translator.translate(english[:40], beam=4)
    assert numbers(together[7:8]) == numbers(translator.translate(english[7:8], beam=4))
    for translation, greedy in zip(together, alone, strict=False):
        scores = [h.score for h in translation.hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert len({h.tokens for h in translation.hypotheses}) == len(scores) == 4
        assert all(h.score == pytest.approx(np.mean(h.log_probabilities), abs=1e-5) for h in translation.hypotheses)
        better += scores[0] >= greedy.hypotheses[0].score - 1e-6
    assert better >= 36


@pytest.mark.parametrize("path", PATHS)
def test_what_the_model_made_is_scored_as_it_was_made(path: str, english: list[str], alone: list[Translation]) -> None:
    own = Translator(real_files(), path=path)
    some = 12 if path == "portable" else 60
    made = alone[:some]
    ended = [[*m.hypotheses[0].tokens, own._target.end] for m in made]
    assert numbers(own.score_tokens([m.source_tokens for m in made], ended)) == numbers(made)
    assert own.score_tokens([], []) == []


def test_given_translations_are_scored_each_by_itself(translator: Translator) -> None:
    source = "You must not delete this file, because it is needed by others."
    good = "Você não deve excluir este arquivo, porque ele é necessário por outros."
    bad = [good.replace("não ", ""), f"{good.partition(',')[0]}.", source]
    scored = translator.score([source] * 4, [good, *bad], alignment=True)
    assert numbers(scored[2:3]) == numbers(translator.score([source], [bad[1]]))
    lowest = [min(each.log_probabilities[:-1]) for each in scored]
    assert lowest[0] > max(lowest[1:])
    seen = [each.hypotheses[0].alignment.sum(axis=0) for each in scored]  # type: ignore[union-attr]
    assert seen[0][:-2].min() > 0.3 > seen[2][-6:-2].max()


def test_what_can_not_be_scored_is_refused(translator: Translator) -> None:
    for targets in ([], ["a " * 300]):
        with pytest.raises(ModelError, match="each text needs one"):
            translator.score(["One house."], targets)
    with pytest.raises(ModelError, match="refused"):
        translator.score_tokens([[5, 0]], [[-1, 0]])


def test_alignment(translator: Translator) -> None:
    text = "The library opens at nine."
    (made,) = translator.translate([text], alignment=True)
    best = made.hypotheses[0]
    assert best.alignment is not None
    assert best.alignment.shape == (len(best.log_probabilities), len(made.source_tokens))
    assert np.allclose(best.alignment.sum(axis=1), 1, atol=1e-4)
    assert best.alignment.argmax(axis=1)[-1] >= len(made.source_tokens) - 2
    (many,) = translator.translate([text], beam=3, alignment=True)
    assert np.array_equal(many.hypotheses[0].alignment[0], best.alignment[0])  # type: ignore[index]


def test_text_beyond_the_model_is_refused_or_cut_never_lost(translator: Translator, english: list[str]) -> None:
    long = " ".join(english[:20])
    with pytest.raises(ModelError, match="pieces_that_fit"):
        translator.translate([long])
    for text in (long, "x" * 2_000, "ab, " * 300, "\U0001f600" * 300, english[0]):
        (pieces,) = pieces_that_fit(translator, [text])
        assert "".join(pieces) == text
        assert max(len(ids) for ids in translator.tokens(pieces)) <= LONGEST_TOKENS
    assert translator.translate([]) == []


def test_blank_pieces_keep_their_place() -> None:
    runs = _firefox_runs.Batches(real_files(), 1)
    one, blank, two = runs.run(["One house.", "", "Two houses."])
    assert (one, two) == (*runs.run(["One house."]), *runs.run(["Two houses."]))
    assert (blank.text, blank.likelihood) == ("", None)
    spaced = "abc " * 200
    assert runs.run([f"{spaced} "])[0].text.endswith(" ")


def test_the_engine_says_how_probable_it_finds_its_translations(translator: Translator) -> None:
    engine = engines.load(real_model())
    assert isinstance(engine, SaysMore)
    texts = ["The library opens at nine.", "One house.\n\nTwo houses.", "12.5", "Press \ue000 to go on."]
    made = engine.translate_with_evidence(texts)
    assert [each.text for each in made] == engine.translate(texts)
    assert made[0].likelihood == likelihood_of(translator.translate([texts[0]])[0].log_probabilities)
    pieces = [likelihood_of(each.log_probabilities) for each in translator.translate(["One house.", "Two houses."])]
    assert made[1].likelihood == together(pieces)
    assert made[2].likelihood is None
    assert made[3].likelihood is not None
    pool = EnginePool()
    outcomes = translate(texts, [(real_model(),)], lambda s, m, t: Verdict(()), pool)
    pool.close()
    assert [outcome.likelihood for outcome in outcomes] == [each.likelihood for each in made]


def test_without_a_shortlist_all_words_are_allowed(english: list[str], alone: list[Translation]) -> None:
    made = Translator(replace(real_files(), shortlist=None)).translate(english[:8])
    assert CHRF().corpus_score([m.text for m in made], [[a.text for a in alone[:8]]]).score > 80


def test_the_backends_are_interchangeable(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    texts = ["The library opens at nine.", "Stop", "Press \ue000 to go on.", "", "One.\n\nTwo houses."]
    ours = engines.load(real_model()).translate(texts)
    reference = engines.load(replace(real_model(), options={**real_model().options, "backend": "fxtranslate"}))
    assert CHRF().corpus_score(reference.translate(texts), [ours]).score > 60

    def none(*_: object, **__: object) -> Translator:
        raise NoKernelError("no compiler here")

    monkeypatch.setattr(_firefox_runs, "Translator", none)
    fallback = engines.load(real_model())
    assert "no compiler here" in caplog.text
    assert fallback.translate(texts) == reference.translate(texts)


def test_versions_tell_backends_and_devices_apart() -> None:
    model = real_model()
    options = ({"backend": "torch"}, {"backend": "torch", "device": "cuda:1"}, {"backend": "torch", "device": "cpu"})
    gpu, other_gpu, processor = (
        engines.status(replace(model, options={**model.options, **each})).version for each in options
    )
    assert gpu == other_gpu
    assert len({gpu, processor, engines.status(model).version}) == 3


@pytest.mark.parametrize(
    ("options", "message"), [({"backend": "magic"}, "no backend 'magic'"), ({"threads": "many"}, "threads must be")]
)
def test_wrong_options_are_named(options: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        engines.load(replace(real_model(), options={**real_model().options, **options}))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = real_files()
    for field in ("model", "source_vocabulary", "shortlist"):
        path: Path = getattr(whole, field)
        cut = tmp_path / path.name
        cut.write_bytes(path.read_bytes()[:100_000])
        with pytest.raises(ModelError, match=str(cut)):
            Translator(replace(whole, **{field: cut}))
    garbled = tmp_path / "vocab.garbled.spm"
    garbled.write_bytes(whole.source_vocabulary.read_bytes().replace("\u2581the".encode(), b"\xff\xfethe  "[:6], 1))
    with pytest.raises(ModelError, match=str(garbled)):
        Translator(replace(whole, source_vocabulary=garbled))
