"""For how long the work of a thread is still wanted: what may take long looks at it, and gives up in time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Event
from time import monotonic

from tradu.errors import UnwantedError

OVER = "no time left"
LOOK_AGAIN_SECONDS = 0.5
"""So often those look who wait for something else."""


@dataclass(frozen=True, slots=True)
class _Limit:
    end: float = math.inf
    unwanted: Event = field(default_factory=Event)


_NONE = _Limit()
_limit: ContextVar[_Limit] = ContextVar("deadline", default=_NONE)


@contextmanager
def within(seconds: float, unwanted: Event | None = None) -> Iterator[None]:
    """What the block does is wanted within so many seconds, and of no use later, nor once `unwanted` is set."""
    token = _limit.set(_Limit(monotonic() + seconds, unwanted or Event()))
    try:
        yield
    finally:
        _limit.reset(token)


def left() -> float:
    """How many seconds are left, from 0 on; infinitely many where nobody has set a limit."""
    limit = _limit.get()
    return 0.0 if limit.unwanted.is_set() else max(0.0, limit.end - monotonic())


def check() -> None:
    """Make sure that somebody still wants it, in time or not.

    Raises:
        UnwantedError: nobody does.
    """
    if _limit.get().unwanted.is_set():
        raise UnwantedError


def sleep(seconds: float) -> None:
    """Wait so long.

    Raises:
        UnwantedError: nobody wants it any more; this ends the waiting at once.
    """
    if _limit.get().unwanted.wait(seconds):
        raise UnwantedError
