"""Transformers on models of the real architectures, in a process of its own (`make test-engines`)."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures import seq2seq
from fixtures.marian import real_english
from tradu.errors import ModelError
from tradu.inference import engines
from tradu.inference.model import Model
from tradu.inference.pool import EnginePool
from tradu.inference.translate import Verdict, translate

pytestmark = pytest.mark.skipif(
    not seq2seq.there("transformers"), reason="the engine transformers is NOT TESTED: make test-engines"
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: seq2seq.make(kind, root / kind) for kind in seq2seq.KINDS}


@pytest.mark.parametrize("kind", seq2seq.KINDS)
def test_batches_say_what_single_calls_of_transformers_say(kind: str, folders: dict[str, Path]) -> None:
    from tradu.inference.engines.transformers import runs

    model, texts = seq2seq.entry("transformers", folders[kind], kind=kind, beam="1"), real_english(10)
    own, other = runs(model), seq2seq.ByTransformers(kind, folders[kind])
    made = own.run(texts)
    assert seq2seq.alike([each.text for each in made], [other.translate(text) for text in texts])
    assert len({each.text for each in made}) > 7
    for each, again in zip(made, own.score(texts, [m.text for m in made]), strict=True):
        assert each.likelihood is not None
        assert again is not None
        assert each.likelihood.lowest < each.likelihood.log_probability < 0
    tokens = own._model._tokenizer.tokenize(made[0].text)  # type: ignore[attr-defined]
    expected = other.score(texts[0], tokens)
    (said,) = own.score(texts[:1], [made[0].text])
    assert said is not None
    assert said.log_probability == pytest.approx(sum(expected) / len(expected), abs=1e-3)


def test_a_killed_process_costs_nothing(folders: dict[str, Path]) -> None:
    """As when the kernel ends what takes too much memory: the batch is halved, and a new process translates it."""
    model, pool, texts = (
        seq2seq.entry("transformers", folders["opus-mt"], kind="opus-mt"),
        EnginePool(),
        real_english(6),
    )
    with pool.using(model) as engine:
        before = engine.translate(texts)
        os.kill(engine._runs.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    outcomes = translate(texts, [(model,)], lambda s, m, t: Verdict(()), pool)
    pool.close()
    assert [outcome.text for outcome in outcomes] == before


def test_pickled_weights_and_foreign_code_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = tmp_path / "pickled"
    shutil.copytree(folders["opus-mt"], folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    model = seq2seq.entry("transformers", folder, kind="opus-mt")
    with pytest.raises(ModelError, match="safetensors"):
        engines.load(model)


def test_what_is_missing_is_said(folders: dict[str, Path], tmp_path: Path) -> None:
    model: Model = seq2seq.entry("transformers", folders["nllb"], kind="nllb")
    assert engines.status(model).installed
    assert not engines.status(replace(model, weights=str(tmp_path / "away"))).installed
    with pytest.raises(ModelError, match="no token for the language 'tlh'"):
        engines.load(replace(model, target="tlh"))
    assert engines.status(replace(model, options={"kind": "nllb", "beam": "4"})).version.endswith("-hf1-nllb-cpu-b4")
