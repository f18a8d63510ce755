"""Where the batches that need models may run."""

from __future__ import annotations

from tradu.cluster.dispatch import restrictions
from tradu.cluster.placement import Host

MODEL = {"cpu": 40.0}
POOL = {"pool-gpu": 1.0}


def hosts(*budgets: float) -> list[Host]:
    return [Host(f"tcp://{n}", {"cpu": mb}) for n, mb in enumerate(budgets)]


def test_workers_that_could_all_hold_the_models_are_preferred_where_these_are_placed() -> None:
    assert restrictions(MODEL, ["tcp://1"], hosts(50, 50), {}) == {
        "workers": ["tcp://1"],
        "allow_other_workers": True,
    }


def test_a_model_that_is_too_large_for_all_of_them_asks_for_no_memory() -> None:
    assert "resources" not in restrictions(MODEL, ["tcp://1"], hosts(10, 10), {})


def test_where_some_workers_are_too_small_memory_is_asked_for_and_nobody_preferred() -> None:
    assert restrictions(MODEL, ["tcp://1"], hosts(10, 50), {}) == {"resources": {"model-mb": 40.0}}


def test_a_pool_is_asked_for_and_nobody_preferred() -> None:
    assert restrictions(MODEL, ["tcp://1"], hosts(50, 50), POOL) == {"resources": {**POOL, "model-mb": 40.0}}
    assert restrictions(MODEL, ["tcp://1"], hosts(10, 10), POOL) == {"resources": POOL}


def test_models_that_are_on_every_worker_ask_for_memory_alone() -> None:
    assert restrictions(MODEL, ["tcp://0", "tcp://1"], hosts(50, 50), {}) == {"resources": {"model-mb": 40.0}}
