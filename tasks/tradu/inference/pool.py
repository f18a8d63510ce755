"""Engines kept warm: each model is loaded once per thread and stays."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tradu.errors import ModelError, ResourceError
from tradu.inference import engines
from tradu.inference.model import Engine, Model, Route
from tradu.inference.routes import tier_of


@dataclass(frozen=True, slots=True)
class Spent:
    """What a route took: every attempt counts, also those that were rejected."""

    tier: str
    models: str
    """Their identities, joined by +."""
    texts: int
    characters: int
    seconds: float


class EnginePool:
    """The engines of a worker. Threads may share it: each has engines of its own, since engines are bound to theirs.

    Nothing is left behind at exit: an engine's programs end when the pipe from this process closes.
    """

    def __init__(self) -> None:
        self._threads = threading.local()

    def note(self, model: Model, failure: str | None) -> None:
        """Remember that a model has just worked (None), or why it could translate nothing at all."""
        self._noted()[model.identity] = failure

    def noted(self) -> dict[str, str | None]:
        """What the calling thread has noted since it last asked: identities of models, with why they failed."""
        noted = dict(self._noted())
        self._noted().clear()
        return noted

    def spend(self, route: Route, texts: Sequence[str], seconds: float) -> None:
        """Count what a route took."""
        models, tier, counts = "+".join(m.identity for m in route), tier_of(route), self._spent()
        before = counts.get(models, Spent(tier, models, 0, 0, 0.0))
        characters = before.characters + sum(map(len, texts))
        counts[models] = Spent(tier, models, before.texts + len(texts), characters, before.seconds + seconds)

    def spent(self) -> list[Spent]:
        """What the calling thread has counted since it last asked, by route."""
        spent = list(self._spent().values())
        self._spent().clear()
        return spent

    def get(self, model: Model) -> Engine:
        """The calling thread's engine for a model, loaded if need be.

        Raises:
            ModelError: it can't be loaded.
            ResourceError: there is not enough memory for it.
        """
        own = self._own()
        if model.identity not in own:
            own[model.identity] = _load(model)
        return own[model.identity]

    def discard(self, model: Model) -> None:
        """Close the calling thread's engine for a model, after a failure; the next call loads it anew."""
        engine = self._own().pop(model.identity, None)
        if engine is not None:
            engine.close()

    def warm(self, routes: Iterable[Route]) -> tuple[str, ...]:
        """Load every model of the routes and translate a word with it; what could not be loaded, and why."""
        failures = []
        for model in {m.identity: m for route in routes for m in route}.values():
            try:
                self.get(model).translate(["OK"])
            except ModelError as error:
                self.discard(model)
                failures.append(str(error))
        return tuple(failures)

    def close(self) -> None:
        """Close the calling thread's engines. May be called twice."""
        own = self._own()
        while own:
            own.popitem()[1].close()

    def _noted(self) -> dict[str, str | None]:
        noted: dict[str, str | None] | None = getattr(self._threads, "noted", None)
        if noted is None:
            noted = self._threads.noted = {}
        return noted

    def _spent(self) -> dict[str, Spent]:
        spent: dict[str, Spent] | None = getattr(self._threads, "spent", None)
        if spent is None:
            spent = self._threads.spent = {}
        return spent

    def _own(self) -> dict[str, Engine]:
        own: dict[str, Engine] | None = getattr(self._threads, "engines", None)
        if own is None:
            own = self._threads.engines = {}
        return own


def _load(model: Model) -> Engine:
    try:
        return engines.load(model)
    except (ModelError, ResourceError):
        raise
    except MemoryError as error:
        raise ResourceError(f"{model.name}: not enough memory to load it ({model.memory_mb} MB)") from error
    except Exception as error:
        raise ModelError(f"{model.name}: can't be loaded: {error}") from error
