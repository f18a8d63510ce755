"""The pool loads a model once, keeps its bound of memory, and never unloads what is being used."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradu.errors import ModelError
from tradu.inference import engines
from tradu.inference.model import Engine, Model
from tradu.inference.pool import EnginePool


class Noted:
    """An engine that knows where it was made and closed."""

    def __init__(self, model: Model, shareable: bool) -> None:
        self.model, self.shareable = model, shareable
        self.made_in, self.closed_in = threading.get_ident(), list[int]()

    def translate(self, texts: Sequence[str]) -> list[str]:
        return list(texts)

    def close(self) -> None:
        self.closed_in.append(threading.get_ident())


class Loads:
    """Stands for the engines' loader; slow when told so."""

    def __init__(self) -> None:
        self.made: list[Noted] = []
        self.shareable = True
        self.wait: Callable[[], object] = lambda: None

    def __call__(self, model: Model) -> Engine:
        self.wait()
        self.made.append(Noted(model, self.shareable))
        return self.made[-1]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    loader = Loads()
    monkeypatch.setattr(engines, "load", loader)
    return loader


def model(name: str, memory_mb: int = 40) -> Model:
    return Model(name, "1", "identity", "standard", "en", "pt", "MIT", memory_mb, 1.0)


def in_thread(do: Callable[[], object]) -> None:
    thread = threading.Thread(target=do)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()


def test_what_is_loaded_is_a_hit_and_what_it_took_is_counted(loads: Loads) -> None:
    loads.wait = lambda: time.sleep(0.01)
    pool = EnginePool()
    assert pool.get(model("a")) is pool.get(model("a"))
    held = pool.held()
    assert (held.models, held.loads, held.hits, held.evictions) == (("a@1",), 1, 1, 0)
    assert held.load_seconds >= 0.01
    assert held.memory_mb == {"cpu": 40}


def test_the_longest_unused_goes_when_memory_is_short(loads: Loads) -> None:
    pool = EnginePool({"cpu": 100})
    for name in "abac":
        pool.get(model(name))
    assert pool.held().models == ("a@1", "c@1")
    assert [(e.model.name, len(e.closed_in)) for e in loads.made] == [("a", 0), ("b", 1), ("c", 0)]
    pool.get(model("large", 500))
    assert pool.held().models == ("large@1",)
    assert pool.held().evictions == 3


def test_what_is_being_used_is_not_unloaded(loads: Loads) -> None:
    pool = EnginePool({"cpu": 50})
    with pool.using(model("a")):
        pool.get(model("b"))
        assert pool.held().models == ("a@1", "b@1")
    pool.get(model("c"))
    assert pool.held().models == ("c@1",)


def test_a_gpu_has_a_bound_of_its_own(loads: Loads) -> None:
    pool = EnginePool({"cpu": 1_000, "cuda": 100})
    for name in "ab":
        pool.get(replace(model(name), options={"device": "cuda:0"}, gpu_memory_mb=60))
    assert pool.held().models == ("b@1",)
    pool.get(model("c"))
    assert pool.held().models == ("b@1", "c@1")
    pool.get(replace(model("b"), options={"device": "cuda:0"}, gpu_memory_mb=60))
    pool.get(replace(model("d"), options={"device": "cuda:0"}, gpu_memory_mb=60))
    assert pool.held().models == ("c@1", "d@1"), "room on the GPU is made there, though c was unused for longer"


def test_threads_that_want_the_same_model_load_it_once(loads: Loads) -> None:
    pool, go_on, got = EnginePool(), threading.Event(), list[Engine]()
    loads.wait = lambda: go_on.wait(30)
    threads = [threading.Thread(target=lambda: got.append(pool.get(model("a")))) for _ in range(4)]
    for thread in threads:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert len(loads.made) == 1
    assert len(set(map(id, got))) == 1
    assert len(got) == 4


def test_an_engine_that_is_bound_to_its_thread_is_made_and_closed_there(loads: Loads) -> None:
    loads.shareable = False
    pool = EnginePool({"cpu": 50})
    pool.get(model("a"))
    other = threading.Event(), threading.Event()

    def elsewhere() -> None:
        pool.get(model("a"))  # one of its own; that of the first thread has to go
        other[0].set()
        assert other[1].wait(30)
        pool.close()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert other[0].wait(30)
    mine, theirs = loads.made
    assert (mine.closed_in, theirs.closed_in) == ([], [])
    other[1].set()
    thread.join(30)
    pool.get(model("b"))
    assert mine.closed_in == [mine.made_in]
    assert theirs.closed_in == [theirs.made_in]


def test_the_engine_of_a_thread_that_has_ended_is_closed_all_the_same(loads: Loads) -> None:
    loads.shareable = False
    pool = EnginePool({"cpu": 50})
    in_thread(lambda: pool.get(model("a")))
    pool.get(model("b"))
    assert len(loads.made[0].closed_in) == 1


def test_one_that_failed_is_closed_when_its_last_user_is_done(loads: Loads) -> None:
    pool = EnginePool()
    with pool.using(model("a")) as engine:
        in_thread(lambda: pool.discard(model("a")))
        assert isinstance(engine, Noted)
        assert engine.closed_in == []
        assert pool.get(model("a")) is not engine
    assert len(engine.closed_in) == 1


def test_what_can_not_be_loaded_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_model: Model) -> Engine:
        raise OSError("no such file")

    monkeypatch.setattr(engines, "load", fail)
    pool = EnginePool()
    for _ in range(2):
        with pytest.raises(ModelError, match="a: can't be loaded: no such file"):
            pool.get(model("a"))
    assert pool.held().models == ()


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans())), st.integers(1, 4))
def test_the_bound_holds_whatever_is_asked_for(asked: list[tuple[str, bool]], fit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        loader = Loads()
        patch.setattr(engines, "load", loader)
        pool = EnginePool({"cpu": fit * 40})
        for name, broken in asked:
            pool.get(model(name))
            if broken:
                pool.discard(model(name))
        held, alive = pool.held(), [e for e in loader.made if not e.closed_in]
        assert len(held.models) <= fit
        assert sorted(e.model.identity for e in alive) == sorted(held.models)
        assert held.hits + held.loads == len(asked)
