"""For how long the work of a thread is still wanted: what may take long looks at it, and gives up in time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

OVER = "no time left"
_end: ContextVar[float] = ContextVar("deadline", default=math.inf)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What the block does is wanted within so many seconds, and of no use later."""
    token = _end.set(monotonic() + seconds)
    try:
        yield
    finally:
        _end.reset(token)


def left() -> float:
    """How many seconds are left, from 0 on; infinitely many where nobody has set a limit."""
    return max(0.0, _end.get() - monotonic())
