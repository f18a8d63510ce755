"""Engines kept warm: the models that a process has loaded, below a bound of memory, the longest unused out first."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tradu.errors import ModelError, ResourceError, UnwantedError
from tradu.inference import engines, weights
from tradu.inference.batch_sizes import BatchSizes
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


@dataclass(frozen=True, slots=True)
class Held:
    """What a pool has loaded, and what it took since the process began."""

    models: tuple[str, ...]
    """Their identities, the longest unused first."""
    memory_mb: Mapping[str, float]
    """By device: what they take, as the registry says."""
    hits: int
    """So often an engine that was asked for was there."""
    loads: int
    load_seconds: float
    evictions: int


@dataclass(slots=True, eq=False)
class _Loaded:
    model: Model
    engine: Engine
    thread: int | None
    """The thread that it belongs to; None: any may use it."""
    users: int = 0


@dataclass(slots=True)
class _Counts:
    hits: int = 0
    loads: int = 0
    load_seconds: float = 0.0
    evictions: int = 0


@dataclass(slots=True)
class _Thread:
    """What a thread has noted and spent."""

    noted: dict[str, str | None] = field(default_factory=dict)
    spent: dict[str, Spent] = field(default_factory=dict)


class EnginePool:
    """The engines of a process, shared by its threads: each model is loaded once, or once a thread where an engine is
    bound to the thread that made it.

    Nothing is left behind at exit: an engine's programs end when the pipe from this process closes.
    """

    def __init__(self, budget_mb: Mapping[str, float] | None = None) -> None:
        """With a bound of memory by device (`cpu`, `cuda`), megabytes as the registry counts them."""
        self.budget_mb = dict(budget_mb or {})
        self.sizes = BatchSizes()
        self._threads = threading.local()
        self._lock = threading.Lock()
        self._loaded: dict[tuple[str, int | None], _Loaded] = {}  # the longest unused first
        self._leaving: list[_Loaded] = []
        self._loading: dict[str, threading.Lock] = {}
        self._counts = _Counts()

    def note(self, model: Model, failure: str | None) -> None:
        """Remember that a model has just worked (None), or why it could translate nothing at all."""
        self._own().noted[model.identity] = failure

    def noted(self) -> dict[str, str | None]:
        """What the calling thread has noted since it last asked: identities of models, with why they failed."""
        noted = dict(self._own().noted)
        self._own().noted.clear()
        return noted

    def spend(self, route: Route, texts: Sequence[str], seconds: float) -> None:
        """Count what a route took."""
        models, tier, counts = "+".join(m.identity for m in route), tier_of(route), self._own().spent
        before = counts.get(models, Spent(tier, models, 0, 0, 0.0))
        characters = before.characters + sum(map(len, texts))
        counts[models] = Spent(tier, models, before.texts + len(texts), characters, before.seconds + seconds)

    def spent(self) -> list[Spent]:
        """What the calling thread has counted since it last asked, by route."""
        spent = list(self._own().spent.values())
        self._own().spent.clear()
        return spent

    @contextmanager
    def using(self, model: Model) -> Iterator[Engine]:
        """The engine for a model, loaded if need be; it is not evicted while the block runs.

        Raises:
            ModelError: it can't be loaded.
            ResourceError: there is not enough memory for it.
        """
        loaded = self._take(model)
        try:
            yield loaded.engine
        finally:
            with self._lock:
                loaded.users -= 1
            self._close_leaving()

    def get(self, model: Model) -> Engine:
        """As `using`, for those who have the pool for themselves."""
        with self.using(model) as engine:
            return engine

    def discard(self, model: Model) -> None:
        """Close the engine for a model, after a failure; the next call loads it anew."""
        with self._lock:
            for key in ((model.identity, None), (model.identity, threading.get_ident())):
                if (loaded := self._loaded.pop(key, None)) is not None:
                    self._leaving.append(loaded)
        self._close_leaving()

    def warm(self, models: Iterable[Model]) -> tuple[str, ...]:
        """Load models and translate a word with each that runs here; what could not be loaded, and why."""
        failures = []
        for model in models:
            try:
                with self.using(model) as engine:
                    if not getattr(engine, "remote", False):
                        engine.translate(["OK"])
            except (ModelError, ResourceError) as error:
                self.discard(model)
                failures.append(str(error))
        return tuple(failures)

    def held(self) -> Held:
        """What is loaded now, and what that took."""
        with self._lock:
            loaded, c = list(self._loaded.values()), self._counts
            models = tuple(dict.fromkeys(each.model.identity for each in loaded))
            return Held(models, self._memory(), c.hits, c.loads, round(c.load_seconds, 3), c.evictions)

    def close(self) -> None:
        """Close the engines that the calling thread may close. May be called twice."""
        own = (None, threading.get_ident())
        with self._lock:
            keys = [key for key in self._loaded if key[1] in own]
            self._leaving += [self._loaded.pop(key) for key in keys]
        self._close_leaving()

    def _take(self, model: Model) -> _Loaded:
        if (found := self._find(model)) is not None:
            return found
        with self._lock:
            loading = self._loading.setdefault(model.identity, threading.Lock())
        with loading:  # others that want it wait, and find it
            if (found := self._find(model)) is not None:
                return found
            self._make_room(model)
            started = time.perf_counter()
            engine = _load(model)
            thread = None if getattr(engine, "shareable", False) else threading.get_ident()
            loaded = _Loaded(model, engine, thread, users=1)
            with self._lock:
                self._loaded[model.identity, thread] = loaded
                self._counts.loads += 1
                self._counts.load_seconds += time.perf_counter() - started
            return loaded

    def _find(self, model: Model) -> _Loaded | None:
        with self._lock:
            for key in ((model.identity, None), (model.identity, threading.get_ident())):
                if (loaded := self._loaded.pop(key, None)) is not None:
                    self._loaded[key] = loaded  # the last one used
                    loaded.users += 1
                    self._counts.hits += 1
                    return loaded
        return None

    def _make_room(self, model: Model) -> None:
        """Evict what nobody uses, and holds memory that is short, until the model fits; one that fits beside nothing is
        loaded alone."""
        with self._lock:
            for key, loaded in list(self._loaded.items()):
                short, held = self._short_for(model), memory_of(loaded.model)
                if loaded.users == 0 and any(held.get(device) for device in short):
                    self._leaving.append(self._loaded.pop(key))
                    self._counts.evictions += 1
        self._close_leaving()

    def _short_for(self, model: Model) -> list[str]:
        """The devices that have no room for it."""
        taken, needed = self._memory(), memory_of(model)
        return [
            device
            for device, mb in needed.items()
            if device in self.budget_mb and taken.get(device, 0.0) + mb > self.budget_mb[device]
        ]

    def _memory(self) -> dict[str, float]:
        total: dict[str, float] = {}
        for loaded in self._loaded.values():
            for device, mb in memory_of(loaded.model).items():
                total[device] = total.get(device, 0.0) + mb
        return total

    def _close_leaving(self) -> None:
        """Close what was taken out and nobody uses any more. An engine of another thread waits for that one to come by,
        or to have ended."""
        living = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
        with self._lock:
            now = [each for each in self._leaving if each.users == 0 and each.thread not in living]
            self._leaving = [each for each in self._leaving if each not in now]
            kept = {each.model.checksum for each in (*self._loaded.values(), *self._leaving)}
        for each in now:
            each.engine.close()
            if each.model.checksum and each.model.checksum not in kept:
                weights.release(each.model.checksum)

    def _own(self) -> _Thread:
        own: _Thread | None = getattr(self._threads, "own", None)
        if own is None:
            own = self._threads.own = _Thread()
        return own


def memory_of(model: Model) -> dict[str, float]:
    """What a model takes, megabytes by device."""
    needed = {"cpu": float(model.memory_mb)}
    return needed | {"cuda": float(model.gpu_memory_mb or 0)} if model.device == "cuda" else needed


def _load(model: Model) -> Engine:
    try:
        return engines.load(model)
    except (ModelError, ResourceError, UnwantedError):
        raise
    except MemoryError as error:
        raise ResourceError(f"{model.name}: not enough memory to load it ({model.memory_mb} MB)") from error
    except Exception as error:
        raise ModelError(f"{model.name}: can't be loaded: {error}") from error
