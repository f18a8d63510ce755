"""Translations that are given, scored by real models in both directions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradu.errors import ModelError
from tradu.inference import engines, scoring
from tradu.inference.pool import EnginePool
from tradu.inference.registry import Registry, load_registry
from tradu.settings import Settings

INCLUDE = Path(__file__).resolve().parents[3] / "include"
SOURCE = "You must not delete \ue000 without a copy 😀."
GOOD = "Você não deve excluir \ue000 sem uma cópia 😀."
WRONG = ["Você deve excluir \ue000 sem uma cópia 😀.", "Você não deve excluir \ue000.", "Bananas custam caro."]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(Settings(include=INCLUDE))


def test_models_that_can_score_are_found_by_their_languages(registry: Registry) -> None:
    forward, backward = scoring.scorer(registry, "en", "pt-BR"), scoring.scorer(registry, "pt-BR", "en")
    assert forward is not None
    assert backward is not None
    assert (forward.name, backward.name) == ("firefox-en-pt", "firefox-pt-en")
    assert scoring.scorer(registry, "en", "mi") is None


def test_a_good_translation_is_more_probable_both_ways(registry: Registry) -> None:
    pool = EnginePool()
    forward, backward = scoring.scorer(registry, "en", "pt"), scoring.scorer(registry, "pt", "en")
    assert forward is not None
    assert backward is not None
    given, sources = [GOOD, *WRONG], [SOURCE] * 4
    there = scoring.likelihoods(sources, given, forward, pool)
    back = scoring.likelihoods(given, sources, backward, pool)
    for good, *bad in (there, back):
        assert good is not None
        assert all(each is not None and each.log_probability < good.log_probability for each in bad)
    assert scoring.likelihoods(sources[:1], given[2:3], forward, pool) == there[2:3]
    assert scoring.likelihoods([SOURCE, "word " * 200], [GOOD, "palavra"], forward, pool) == [there[0], None]
    pool.close()


def test_what_a_model_made_is_about_as_probable_as_when_it_was_made(registry: Registry) -> None:
    engine = engines.load(registry.model("firefox-en-pt"))
    assert isinstance(engine, scoring.Scores)
    texts = ["The library opens at nine and closes at six.", "Where is the nearest railway station?"]
    made = engine.translate_with_evidence(texts)  # type: ignore[attr-defined]
    scored = engine.score(texts, [each.text for each in made])
    assert scored == [each.likelihood for each in made]
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        engine.score(texts, texts)


def test_engines_that_can_not_say_are_asked_nothing(registry: Registry) -> None:
    pool = EnginePool()
    assert scoring.likelihoods(["x"], ["x"], registry.model("identity"), pool) == [None]
    pool.close()
