"""A model is given as much as fits its memory: less after it did not, more again when it has for a while."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradu.errors import ResourceError
from tradu.inference import engines
from tradu.inference.batch_sizes import GROW_AFTER, BatchSizes
from tradu.inference.model import Model
from tradu.inference.pool import EnginePool
from tradu.inference.translate import Verdict, translate

MODEL = Model("m", "1", "identity", "standard", "en", "pt", "MIT", 1, 1.0)


class Small:
    """An engine with memory for so many characters."""

    def __init__(self, characters: int) -> None:
        self.characters = characters
        self.failures = 0
        self.calls: list[int] = []

    def translate(self, texts: Sequence[str]) -> list[str]:
        size = sum(map(len, texts))
        if size > self.characters:
            self.failures += 1
            raise ResourceError(f"no memory for {size}")
        self.calls.append(size)
        return [text.upper() for text in texts]

    def close(self) -> None:
        pass


def test_what_one_batch_has_found_out_the_next_one_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, pool = Small(300), EnginePool()
    monkeypatch.setattr(engines, "load", lambda _model: engine)
    texts = [f"{n:03}" * 10 for n in range(40)]

    def batch() -> list[str]:
        return [o.text for o in translate(texts, [(MODEL,)], lambda _s, _m, _t: Verdict(()), pool)]

    assert batch() == texts
    assert engine.failures == 3  # 1200, 600, and the second 600
    for _ in range(GROW_AFTER // 4):
        engine.failures = 0
        assert batch() == texts
    assert engine.failures == 0
    assert max(engine.calls) <= 300
    engine.characters = 10_000
    for _ in range(8):
        batch()
    assert max(engine.calls) == 1_200


@given(st.lists(st.text(min_size=1, max_size=20), max_size=30), st.integers(1, 200))
def test_groups_hold_the_texts_in_order_below_the_limit(texts: list[str], failed: int) -> None:
    sizes = BatchSizes()
    sizes.failed(MODEL, failed)
    groups, limit = sizes.cut(texts, MODEL), sizes.limit(MODEL)
    assert [text for group in groups for text in group] == texts
    assert limit is not None
    assert all(sum(map(len, group)) <= limit or len(group) == 1 for group in groups)
    assert all(groups)
