"""Engines, found by name: a module here with `load(model)` and `status(model)` is an engine; nothing else lists it."""

from __future__ import annotations

import pkgutil
from functools import lru_cache
from importlib import import_module
from typing import Protocol, cast

from tradu.errors import RequestError
from tradu.inference.model import Engine, Model, Status


class Adapter(Protocol):
    """What the module of an engine offers."""

    def load(self, model: Model) -> Engine:
        """Load the model for the calling thread.

        Raises:
            ModelError: it is missing, or its files are broken.
        """
        ...

    def status(self, model: Model) -> Status:
        """Whether the model is on this machine, in which version, and how to add it."""
        ...


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """The engines there are, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def adapter(engine: str) -> Adapter:
    """The module of an engine.

    Raises:
        RequestError: there is no such engine.
    """
    if engine not in names():
        raise RequestError(f"there is no engine {engine!r}; there are: {', '.join(names())}")
    return cast("Adapter", import_module(f"{__name__}.{engine}"))


def load(model: Model) -> Engine:
    """Load a model for the calling thread.

    Raises:
        ModelError: it is missing, or its files are broken.
    """
    return adapter(model.engine).load(model)


def status(model: Model) -> Status:
    """Whether a model is on this machine, in which version, and how to add it."""
    return adapter(model.engine).status(model)
