"""Which worker serves which tier, and where its batches go."""

from __future__ import annotations

import pytest

from tradu.cluster import pools
from tradu.cluster.placement import Host
from tradu.inference.model import Model
from tradu.settings import Settings

SETTINGS = Settings(tier_pools={"premium": "gpu", "economy": "old"})


def route(tier: str) -> tuple[Model, ...]:
    return (Model(tier, "1", "identity", tier, "en", "pt", "MIT", 1, 1.0),)


def host(pool: str) -> Host:
    return Host(f"tcp://{pool}", {"cpu": 100}, pool=pool)


@pytest.mark.parametrize(
    ("pool", "own", "without_others"),
    [
        ("default", ["standard"], ["standard"]),
        ("gpu", ["standard", "premium"], ["standard", "premium"]),
        ("old", ["standard"], ["standard", "economy"]),
    ],
)
def test_a_worker_goes_as_far_as_the_first_tier_of_another_pool(
    pool: str, own: list[str], without_others: list[str]
) -> None:
    settings = SETTINGS.model_copy(update={"pool": pool})
    routes = [route(tier) for tier in ("standard", "premium", "economy")]
    assert [r[0].tier for r in pools.own(routes, settings)] == own
    assert [r[0].tier for r in pools.without_others(routes, settings)] == without_others
    assert pools.own(routes, Settings(pool=pool)) == routes


def test_batches_go_to_the_workers_of_their_pool() -> None:
    both = [host("default"), host("gpu")]
    assert pools.where("default", [], again=False) == ({}, False)
    assert pools.where("default", [host("default")], again=False) == ({}, False)
    assert pools.where("default", both, again=False) == ({"pool-default": 1.0}, False)
    assert pools.where("gpu", both, again=True) == ({"pool-gpu": 1.0}, False)


def test_without_a_worker_of_its_pool_a_batch_waits_once_and_then_does_without() -> None:
    assert pools.where("gpu", [host("default")], again=False) == ({"pool-gpu": 1.0}, False)
    assert pools.where("gpu", [host("default")], again=True) == ({}, True)
    assert pools.where("gpu", [host("default"), host("old")], again=True) == ({"pool-default": 1.0}, True)
    assert pools.where("gpu", [], again=True) == ({}, True)


def test_the_batch_of_a_tier_is_named_by_its_first_one() -> None:
    first = pools.batch_of(7, "standard")
    assert len({7, first, pools.batch_of(7, "premium"), pools.batch_of(8, "premium")}) == 4
    assert pools.batch_of(first, "premium") == pools.batch_of(7, "premium")
    assert pools.batch_of(499_999_999, "premium") < 2**31
