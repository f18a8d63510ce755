"""Who is let in and who waits: the policy's laws, on any jobs, and on simulated time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradu.admission import (
    MOST_RUNS,
    AdmissionPolicy,
    Pool,
    Pressure,
    Running,
    Tenant,
    Waiting,
    current_policy,
    doubts,
    in_order,
    is_full,
    load_policy,
    may_submit,
    take_turn,
)
from tradu.errors import RequestError
from tradu.settings import Settings

NOW = datetime(2026, 11, 2, tzinfo=UTC)
POLICY = AdmissionPolicy(
    high_characters=1_000,
    low_characters=400,
    most_running=4,
    most_deferred=5,
    ageing_minutes=10,
    tenants={"*": Tenant(), "acme": Tenant(weight=3)},
)


def waiting(number: int, tenant: str = "a", priority: int = 5, minutes: float = 0, region: str = "eu") -> Waiting:
    return Waiting(UUID(int=number), tenant, region, priority, NOW - timedelta(minutes=minutes))


def pressure(*jobs: Waiting, opened: int = 0, running: int = 0, full: bool = False, usual: float = 100) -> Pressure:
    running_jobs = [Running("a", "eu", opened if n == 0 else 0, True) for n in range(running or bool(opened))]
    return Pressure(full, running_jobs, jobs, usual=usual)


def numbers(jobs: object) -> list[int]:
    return [job.job_id.int if isinstance(job, Waiting) else job.int for job in jobs]  # type: ignore[attr-defined]


def test_an_idle_line_lets_everybody_in_at_once() -> None:
    turn = take_turn(pressure(waiting(1)), POLICY)
    assert numbers(turn.admitted) == [1]
    assert not turn.why


def test_from_the_high_water_mark_on_jobs_wait_until_it_is_down_at_the_low_one() -> None:
    assert is_full(pressure(opened=1_000), POLICY)
    assert not is_full(pressure(opened=999), POLICY)
    assert is_full(pressure(opened=999, full=True), POLICY)
    assert is_full(pressure(opened=401, full=True), POLICY)
    assert not is_full(pressure(opened=400, full=True), POLICY), "no more than 400 are open"
    turn = take_turn(pressure(waiting(1), opened=1_000), POLICY)
    assert not turn.admitted
    assert "until no more than 400 are" in turn.why


def test_jobs_that_nobody_has_measured_count_as_usual_ones() -> None:
    fresh = Pressure(False, [Running("a", "eu", 0, False)] * 3, [waiting(1)], usual=400)
    assert not take_turn(fresh, POLICY).admitted


def test_the_highest_priority_is_first_but_waiting_counts() -> None:
    jobs = [waiting(1, priority=5, minutes=1), waiting(2, priority=9), waiting(3, priority=5, minutes=2)]
    assert numbers(in_order(pressure(*jobs), POLICY)) == [2, 3, 1]
    starving = waiting(4, priority=0, minutes=101)
    assert numbers(in_order(pressure(starving, waiting(5, priority=10)), POLICY)) == [4, 5]


def test_tenants_take_turns_by_their_weights_and_regions_within_them() -> None:
    jobs = [waiting(n, "acme") for n in range(1, 9)] + [waiting(n, "b") for n in range(11, 19)]
    first = in_order(pressure(*jobs), POLICY)[:8]
    assert Counter(job.tenant for job in first) == {"acme": 6, "b": 2}
    regions = [waiting(1, region="eu"), waiting(2, region="eu"), waiting(3, region="us")]
    assert [job.region for job in in_order(pressure(*regions), POLICY)] == ["eu", "us", "eu"]


def test_who_had_less_of_late_comes_first() -> None:
    jobs = [waiting(1, "a", minutes=5), waiting(2, "b")]
    served = replace(pressure(*jobs), served={("a", "eu"): 5_000.0})
    assert numbers(in_order(served, POLICY)) == [2, 1]


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "acme"]), st.integers(0, 10), st.floats(0, 1e4)), max_size=30),
    st.integers(0, 6),
    st.integers(0, 2_000),
    st.booleans(),
)
def test_never_more_than_there_is_room_for(
    jobs: list[tuple[str, int, float]], running: int, opened: int, full: bool
) -> None:
    every = [waiting(n, *job) for n, job in enumerate(jobs, 1)]
    before = pressure(*every, opened=opened, running=running, full=full)
    turn = take_turn(before, POLICY)
    assert len(set(turn.admitted)) == len(turn.admitted)
    assert set(turn.admitted) <= {job.job_id for job in every}
    assert not turn.admitted or len(before.running) + len(turn.admitted) <= POLICY.most_running
    assert bool(turn.why) == (len(turn.admitted) < len(every)), "who waits is told why, and only then"
    assert not (is_full(before, POLICY) and turn.admitted)


@given(st.integers(1, 5), st.integers(1, 5))
def test_tenants_that_always_wait_share_by_their_weights(one: int, other: int) -> None:
    policy = POLICY.model_copy(update={"tenants": {"one": Tenant(weight=one), "other": Tenant(weight=other)}})
    served: dict[tuple[str, str], float] = {}
    count: Counter[str] = Counter()
    for _ in range(200):
        jobs = [waiting(1, "one"), waiting(2, "other")]
        first = in_order(replace(pressure(*jobs), served=served), policy)[0]
        served[first.tenant, "eu"] = served.get((first.tenant, "eu"), 0.0) + 100
        count[first.tenant] += 1
    assert count["one"] / 200 == pytest.approx(one / (one + other), abs=0.01)


def test_nothing_starves() -> None:
    """A job of the lowest priority is let in although a new one of the highest comes every minute."""
    low = waiting(1, priority=0)
    for minute in range(1, 200):
        new = Waiting(UUID(int=minute + 1), "a", "eu", 10, NOW + timedelta(minutes=minute))
        if in_order(pressure(low, new), POLICY)[0] == low:
            break
    assert minute <= 10 * POLICY.ageing_minutes + 1


def test_who_may_ask_now_and_who_when() -> None:
    assert may_submit("a", pressure(), POLICY).reason == "it will run at once"
    answer = may_submit("a", pressure(opened=1_000), POLICY)
    assert (answer.may_submit, answer.deferred) == (True, True)
    behind = may_submit("a", pressure(waiting(1, "b"), running=1), POLICY)
    assert (behind.deferred, behind.reason) == (True, "it will wait: others wait before it")
    assert "4 jobs run" in may_submit("a", pressure(waiting(1, "b"), running=4), POLICY).reason
    crowd = pressure(*[waiting(n) for n in range(1, 6)], opened=1_000, full=True)
    refused = may_submit("a", replace(crowd, per_second=10.0), POLICY)
    assert not refused.may_submit
    assert refused.retry_after_seconds == (600 + 100) / 10
    assert may_submit("b", crowd, POLICY).may_submit, "another tenant's crowd is not one's own"


def test_the_homes_file_changes_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "admission.yaml").write_text("most_running: 2\ntenants: {acme: {weight: 2.5}}\n")
    policy = load_policy(Settings(home=tmp_path))
    assert (policy.most_running, policy.tenant("acme").weight, policy.tenant("b").weight) == (2, 2.5, 1)
    (tmp_path / "admission.yaml").write_text("most_runing: 2\n")
    with pytest.raises(RequestError, match=r"admission\.yaml: most_runing"):
        load_policy(Settings(home=tmp_path))
    (tmp_path / "admission.yaml").write_text("low_characters: 30_000_000\n")
    with pytest.raises(RequestError, match="low_characters must not be more"):
        load_policy(Settings(home=tmp_path))


def test_limits_of_claims_are_read_again_when_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_HOME", str(tmp_path))
    assert current_policy().claim_limits("acme", "default") == {}, "as shipped there are none"
    limits = "tenants: {acme: {characters_per_minute: 10}, '*': {characters_per_minute: 20}}\n"
    (tmp_path / "admission.yaml").write_text(f"{limits}pools: {{gpu: {{characters_per_minute: 30}}}}\n")
    assert current_policy().claim_limits("acme", "default") == {"tenant:acme": 10}
    assert current_policy().claim_limits("b", "gpu") == {"tenant:b": 20, "pool:gpu": 30}
    (tmp_path / "admission.yaml").write_text("tenants: {acme: {weight: 2}}\n")
    assert current_policy().claim_limits("acme", "gpu") == {}


def test_the_shipped_policy_leaves_room_for_other_tenants_runs() -> None:
    shipped = load_policy(Settings())
    assert doubts(shipped, Settings()) == []
    assert shipped.most_running + shipped.most_deferred < MOST_RUNS / 2
    (said,) = doubts(shipped.model_copy(update={"most_deferred": MOST_RUNS - shipped.most_running}), Settings())
    assert "256 together" in said


def test_a_limit_of_a_pool_that_nobody_is_in_is_told() -> None:
    limited = POLICY.model_copy(
        update={"pools": {name: Pool(characters_per_minute=9) for name in ("gpu", "default", "*")}}
    )
    (said,) = doubts(limited, Settings())
    assert "'gpu'" in said
    assert doubts(limited, Settings(tier_pools={"premium": "gpu"})) == []
    assert doubts(limited, Settings(pool_workers={"gpu": 1})) == []
    assert limited.limits() == {"pool:gpu": 9, "pool:default": 9}
