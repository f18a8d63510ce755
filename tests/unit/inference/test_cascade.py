"""Planning: a tier that can't pay for itself on a pair is left out, and stands in for failures."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradu.inference.cascade import Plan, climb_share, plan
from tradu.inference.model import Model, Route
from tradu.inference.routes import is_higher, pace_of, tier_of


def route(tier: str, cost: float) -> Route:
    return (Model(tier, "1", "identity", tier, "en", "pt", "MIT", 1, cost),)


def tiers(planned: Plan) -> list[str]:
    return [tier_of(r) for r in planned.routes]


def test_a_cheap_tier_whose_output_mostly_suffices_pays() -> None:
    planned = plan([route("standard", 10), route("premium", 100), route("economy", 30)], 0.8)
    assert (tiers(planned), planned.left_out) == (["standard", "premium", "economy"], ())
    assert [tier_of(r) for r in planned.rungs] == ["standard", "premium"]
    assert planned.shares == (1.0, pytest.approx(0.06))
    assert planned.cpu_seconds_per_million_chars == pytest.approx(16)


def test_a_tier_dearer_than_the_next_is_left_out_and_says_so() -> None:
    planned = plan([route("economy", 24), route("standard", 10.7)], 0.4)
    assert tiers(planned) == ["standard", "economy"]
    assert [(o.tier, o.reason) for o in planned.left_out] == [
        (
            "economy",
            "economy would cost 27 CPU seconds per million characters, of which 17% climb; standard at once costs 11",
        )
    ]
    assert planned.cpu_seconds_per_million_chars == 10.7


def test_a_cheap_tier_from_which_nearly_all_climbs_is_left_out() -> None:
    assert tiers(plan([route("standard", 10), route("premium", 100)], 0.99)) == ["premium", "standard"]


def test_without_a_threshold_the_profiles_order_stays() -> None:
    planned = plan([route("economy", 24), route("standard", 10)], 0.0)
    assert (tiers(planned), planned.rungs) == (["economy", "standard"], planned.routes[:1])


ROUTES = st.lists(
    st.builds(route, st.sampled_from(["economy", "standard", "premium"]), st.floats(0, 200)),
    min_size=1,
    max_size=6,
)


@given(ROUTES, st.floats(0, 1))
def test_nothing_is_lost_and_the_plan_is_never_dearer_than_its_dearest_tier(routes: list[Route], below: float) -> None:
    planned = plan(routes, below)
    assert sorted(planned.routes, key=str) == sorted(routes, key=str)
    rungs = planned.rungs
    assert all(is_higher(tier_of(b), tier_of(a)) for a, b in pairwise(rungs))
    if len(rungs) == 2:
        (low,), (high,) = rungs
        share = climb_share(rungs[0], below)
        through = low.cpu_seconds_per_million_chars + share * high.cpu_seconds_per_million_chars
        assert through < high.cpu_seconds_per_million_chars


def test_a_pace_is_that_of_all_rungs_as_far_as_they_were_measured() -> None:
    cheap, dear = route("standard", 10), route("premium", 100)
    rungs, shares = [cheap, dear], [1.0, 0.25]
    assert pace_of(rungs, shares, {}) is None
    assert pace_of(rungs, shares, {"premium@1": 400}) is None, "nothing is known of what all of the text goes through"
    assert pace_of(rungs, shares, {"standard@1": 20}) == 20 + 0.25 * 100
    assert pace_of(rungs, shares, {"standard@1": 20, "premium@1": 400}) == 20 + 0.25 * 400
    assert pace_of([cheap + dear], [1.0], {"standard@1+premium@1": 7}) == 7
