"""What is due follows from the policy, the jobs and the time, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradu.archival.policy import Act, Candidate, Policy, Residence, due, load_policy
from tradu.archival.run import share
from tradu.errors import RequestError
from tradu.ledger.states import JOB_ENDED, JobState
from tradu.settings import Settings

NOW = datetime(2026, 11, 28, tzinfo=UTC)
POLICY = Policy.model_validate(
    {
        "tiers": {
            "hot": {"price_per_gb_month": 0.02},
            "warm": {"after_days": 90, "price_per_gb_month": 0.01},
            "cold": {"after_days": 365, "price_per_gb_month": 0.004},
        },
        "purge_after_days": 730,
    }
)
ages = st.floats(0, 5_000).map(lambda days: NOW - timedelta(days=days))
candidates = st.builds(
    Candidate,
    job_id=st.uuids(),
    state=st.sampled_from(list(JobState)).map(str),
    residence=st.sampled_from(list(Residence)).map(str),
    legal_hold=st.booleans(),
    ended_at=st.none() | ages,
    size_bytes=st.integers(0, 10**12),
    cleared=st.just(True),
    rollout=st.none() | st.just(3),
)


def job(days: float, residence: str = "hot", **changed: object) -> Candidate:
    fields = {"state": "COMPLETED", "legal_hold": False, "size_bytes": 1} | changed
    return Candidate(uuid4(), residence=residence, ended_at=NOW - timedelta(days=days), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("days", "residence", "act", "tier"),
    [
        (89.9, "hot", None, None),
        (90, "hot", "archive", "warm"),
        (366, "hot", "archive", "cold"),
        (364, "warm", None, None),
        (365, "warm", "cool", "cold"),
        (365, "cold", None, None),
        (730, "warm", "purge", "purged"),
        (730, "cold", "purge", "purged"),
        (730, "hot", "archive", "cold"),
        (9_999, "purged", None, None),
    ],
)
def test_what_is_due(days: float, residence: str, act: str | None, tier: str | None) -> None:
    found = [(d.act, d.tier) for d in due([job(days, residence)], POLICY, NOW)]
    assert found == ([(act, tier)] if act else [])


@given(st.lists(candidates))
def test_open_held_and_young_jobs_are_never_touched(jobs: list[Candidate]) -> None:
    by_id = {j.job_id: j for j in jobs}
    for one in due(jobs, POLICY, NOW):
        own = by_id[one.job_id]
        assert own.state in JOB_ENDED
        assert own.kept is None
        assert not own.legal_hold
        assert own.rollout is None
        assert own.ended_at is not None
        assert NOW - own.ended_at >= timedelta(days=90)


@given(candidates, st.floats(0, 1_000))
def test_what_is_due_stays_due(one: Candidate, days: float) -> None:
    if due([one], POLICY, NOW):
        assert due([one], POLICY, NOW + timedelta(days=days))


def test_what_a_killed_run_has_begun_is_due_whatever_has_changed() -> None:
    begun = [job(0, residence, cleared=False, legal_hold=True) for residence in ("warm", "cold", "purged")]
    assert [d.act for d in due(begun, POLICY, NOW)] == [Act.ARCHIVE, Act.ARCHIVE, Act.PURGE]


@given(st.sets(st.uuids(), max_size=50), st.integers(1, 32))
def test_every_job_is_in_one_group_and_stays_there(ids: set[UUID], groups: int) -> None:
    old = NOW - timedelta(days=100)
    found = due([Candidate(i, "COMPLETED", "hot", False, old, 1) for i in sorted(ids)], POLICY, NOW)
    parts = [share(found, group, groups) for group in range(groups)]
    assert sorted(d.job_id for part in parts for d in part) == sorted(ids)
    half = found[::2]
    assert all({d.job_id for d in share(half, g, groups)} <= {d.job_id for d in parts[g]} for g in range(groups))


def test_the_home_changes_some_of_the_shipped_policy(tmp_path: Path) -> None:
    (tmp_path / "retention.yaml").write_text("tiers:\n  cold: {storage_class: GLACIER}\npurge_after_days: 3650\n")
    shipped, own = load_policy(Settings(home=tmp_path / "none")), load_policy(Settings(home=tmp_path))
    assert shipped.purge_after_days is None
    assert own.purge_after_days == 3650
    assert own.storage_class("cold") == "GLACIER"
    assert own.tiers.cold.after_days == shipped.tiers.cold.after_days
    assert own.price("hot") == shipped.price("hot") > own.price("warm") > own.price("cold") > own.price("purged") == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tiers: {warm: {after_days: 400}}", "cold: after_days must not be less"),
        ("purge_after: 3", "purge_after: Extra inputs"),
        ("purge_after_days: -1", "purge_after_days: Input should be greater than 0"),
        ("[]", "expected settings"),
        ("{", "while parsing"),
    ],
)
def test_a_policy_that_cannot_be_used_says_why(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "retention.yaml").write_text(text)
    with pytest.raises(RequestError, match=r"retention\.yaml") as raised:
        load_policy(Settings(home=tmp_path))
    assert said in str(raised.value)
