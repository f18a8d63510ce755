"""How much text a model is given at once: halved when its memory does not do, and grown again by and by.

Kept for each model and kind of device in a process, so that what one batch has found out the next one need not.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from tradu.inference.model import Model

GROW_AFTER = 8
"""So many calls that fit, close to the limit, and twice as much is tried: memory that others held may be free again."""
_CLOSE = 0.5


@dataclass(slots=True)
class _Limit:
    characters: int
    fitted: int = 0


class BatchSizes:
    """The limits of a process. Models without one take what they are given."""

    def __init__(self) -> None:
        self._limits: dict[tuple[str, str], _Limit] = {}
        self._lock = threading.Lock()

    def limit(self, model: Model) -> int | None:
        """Characters that a model takes at once; None: as many as come."""
        with self._lock:
            found = self._limits.get(_key(model))
            return found.characters if found else None

    def cut(self, texts: Sequence[str], model: Model) -> list[list[str]]:
        """Texts in groups below the limit, in order; a longer text is a group of its own."""
        limit = self.limit(model)
        if limit is None:
            return [list(texts)] if texts else []
        groups: list[list[str]] = []
        room = 0
        for text in texts:
            if not groups or len(text) > room:
                groups.append([])
                room = limit
            groups[-1].append(text)
            room -= len(text)
        return groups

    def failed(self, model: Model, characters: int) -> None:
        """So much did not fit."""
        with self._lock:
            before = self._limits.get(_key(model))
            half = max(1, characters // 2)
            self._limits[_key(model)] = _Limit(min(half, before.characters) if before else half)

    def fitted(self, model: Model, characters: int) -> None:
        """So much did."""
        with self._lock:
            found = self._limits.get(_key(model))
            if found is None or characters < found.characters * _CLOSE:
                return
            found.fitted += 1
            if found.fitted >= GROW_AFTER:
                found.characters, found.fitted = found.characters * 2, 0


def _key(model: Model) -> tuple[str, str]:
    return model.identity, model.device
