"""CTranslate2 on models of the real architectures, converted by its own converters (`make test-engines`)."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from sentencepiece import SentencePieceProcessor

from fixtures import seq2seq
from fixtures.marian import real_english
from tradu.errors import ModelError
from tradu.inference import engines
from tradu.inference.engines import _languages, ctranslate2
from tradu.inference.engines._languages import _FLORES
from tradu.inference.model import Model

pytestmark = pytest.mark.skipif(not seq2seq.there("ctranslate2"), reason="CTranslate2 is NOT TESTED: make test-engines")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Per kind the folder that Transformers wrote."""
    root = tmp_path_factory.mktemp("models")
    return {kind: seq2seq.make(kind, root / kind) for kind in seq2seq.KINDS}


@pytest.fixture(scope="module", params=seq2seq.KINDS)
def model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Model:
    kind = request.param
    folder = folders[kind].with_name(f"{kind}-converted")
    if not folder.is_dir():
        seq2seq.convert(folders[kind], folder)
    return seq2seq.entry("ctranslate2", folder, kind=kind)


def test_it_says_what_transformers_says(model: Model, folders: dict[str, Path]) -> None:
    """Same tokens in, same tokens out, as probable: languages, ends and cuts are where the architecture wants them."""
    kind, texts = model.options["kind"], real_english(12)
    runs = engines.load(replace(model, options={**model.options, "beam": "1", "compute": "float32"}))._runs  # type: ignore[attr-defined]
    made, other = [each.text for each in runs.run(texts)], seq2seq.ByTransformers(kind, folders[kind])
    assert seq2seq.alike(made, [other.translate(text) for text in texts])
    assert len(set(made)) > 9
    target = SentencePieceProcessor(model_file=str(ctranslate2._vocabularies(model, folders[kind])[1]))
    for text, said, likelihood in zip(texts, made, runs.score(texts, made), strict=True):
        expected = other.score(text, target.encode(said, out_type=str))
        assert likelihood.tokens == len(expected)
        assert likelihood.log_probability == pytest.approx(sum(expected) / len(expected), abs=1e-3)
        assert likelihood.lowest == pytest.approx(min(expected), abs=1e-3)


def test_scores_do_not_depend_on_neighbours(model: Model) -> None:
    texts = real_english(8)
    runs = engines.load(model)._runs  # type: ignore[attr-defined]
    made = runs.run(texts)
    assert all(each.likelihood.lowest < each.likelihood.log_probability < 0 for each in made)
    scored = runs.score(texts, [each.text for each in made])
    assert scored == [runs.score([text], [each.text])[0] for text, each in zip(texts, made, strict=True)]
    assert [made[3]] == runs.run(texts[3:4])
    assert runs.score(["Hello."], [" "]) == [None]
    assert runs.score(["Hello."], ["word " * 900]) == [None]


def test_long_text_is_read_to_its_end(model: Model) -> None:
    (text,) = [" ".join(real_english(30))]
    runs = engines.load(model)._runs  # type: ignore[attr-defined]
    (made,) = runs.run([text])
    assert made.likelihood.tokens > 200  # more than one call may make
    head, tail = text[: len(text) // 2], text[len(text) // 2 :]
    assert runs.run([head + "x" + tail])[0].text != made.text


def test_a_language_the_model_has_not_is_refused(model: Model) -> None:
    if model.options["kind"] == "opus-mt":
        pytest.skip("a model of one pair names no languages")
    with pytest.raises(ModelError, match="no token for the language 'tlh'"):
        engines.load(replace(model, target="tlh"))
    with pytest.raises(ModelError, match="no token 'klingon'"):
        engines.load(replace(model, options={**model.options, "target_token": "klingon"}))


def test_the_version_tells_what_changes_the_output(model: Model) -> None:
    versions = {
        engines.status(replace(model, options={**model.options, **more})).version
        for more in ({}, {"beam": "4"}, {"compute": "float32"}, {"threads": "2"})
    }
    assert len(versions) == 3
    assert {v[:12] for v in versions} == {engines.status(model).version[:12]}


def test_what_is_missing_is_said(model: Model, tmp_path: Path) -> None:
    assert not engines.status(replace(model, weights="")).installed
    away = engines.status(replace(model, weights=str(tmp_path / "away")))
    assert not away.installed
    assert "away" in away.how_to_add
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"lacks model\.bin, .*\.(spm|model)"):
        engines.load(replace(model, weights=str(tmp_path)))
    with pytest.raises(ModelError, match="kind must be one of opus-mt, m2m100, nllb, madlad"):
        engines.load(replace(model, options={}))


def test_a_broken_model_is_an_error(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(model.weights, folder)
    weights = folder / "model.bin"
    weights.write_bytes(weights.read_bytes()[:1_000])
    with pytest.raises(ModelError, match="can't be loaded from"):
        engines.load(replace(model, weights=str(folder)))


def test_a_model_that_ends_its_sources_itself_gets_no_second_end(model: Model, tmp_path: Path) -> None:
    """As ct2-opus-mt-converter writes it, for what Marian itself trained."""
    folder = tmp_path / "marian"
    shutil.copytree(model.weights, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"add_source_eos": True}))
    greedy = replace(model, options={**model.options, "beam": "1"})
    own = engines.load(replace(greedy, weights=str(folder)))
    texts = real_english(4)
    assert seq2seq.alike(own.translate(texts), engines.load(greedy).translate(texts))


def test_every_language_of_the_table_is_one_of_nllb() -> None:
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    known = frozenset(FAIRSEQ_LANGUAGE_CODES)
    named = {pair.split(":")[0]: _languages.token_of("nllb", pair.split(":")[0], known) for pair in _FLORES.split()}
    assert (named["pt"], named["zh"], named["ar"], named["sr"]) == ("por_Latn", "zho_Hans", "arb_Arab", "srp_Cyrl")
