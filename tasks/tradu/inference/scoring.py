"""How probable a model finds translations that are given: by whatever made them, and in either direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from tradu.inference import languages
from tradu.inference.made import Likelihood
from tradu.inference.model import Model
from tradu.inference.pool import EnginePool
from tradu.inference.registry import Registry

SCORING = frozenset({"firefox"})
"""The engines of which a loaded one can be a `Scores`; so that no engine is loaded just to be asked."""


@runtime_checkable
class Scores(Protocol):
    """An engine that can say how probable a translation is that it did not make."""

    def score(self, sources: Sequence[str], translations: Sequence[str]) -> list[Likelihood | None]:
        """One answer a pair, whatever its neighbours; None: it can't say.

        Raises:
            ModelError: the engine failed.
        """
        ...


def scorer(registry: Registry, source: str, target: str) -> Model | None:
    """The installed model that reads `source`, writes `target` and whose engine can score; None: there is none.

    For the round trip ask for it with the languages exchanged.
    """
    for model in registry.models():
        apart = (
            languages.distance(model.source, languages.normalise(source)),
            languages.distance(model.target, languages.normalise(target)),
        )
        if model.engine in SCORING and None not in apart and registry.status(model).installed:
            return model
    return None


def likelihoods(
    sources: Sequence[str], translations: Sequence[str], model: Model, engines: EnginePool
) -> list[Likelihood | None]:
    """How probable a model finds each translation; None where it can't say.

    For the round trip (how probable the source is, given its translation) exchange sources and translations and give
    the model of the other direction. Costs about as much as translating the same texts.

    Raises:
        ModelError: the model can't be loaded or failed.
        ResourceError: memory is short.
    """
    with engines.using(model) as engine:
        return engine.score(sources, translations) if isinstance(engine, Scores) else [None] * len(sources)
