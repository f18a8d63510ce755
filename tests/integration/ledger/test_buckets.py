"""Limits of claims on a real ledger: what a bucket lets through, by the database's clock."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from fixtures.ledger import make_job
from tradu.errors import SystemicError
from tradu.ledger import buckets, connection
from tradu.ledger.connection import Ledger

LIMIT = {"tenant:acme": 6_000.0}  # 100 a second
BURST = 100 * buckets.BURST_SECONDS


def claim(ledger: Ledger, characters: int, limits: dict[str, float] | None = None) -> float:
    with ledger.pipeline() as tx:
        seconds = buckets.wait_seconds(tx, limits or LIMIT)
        if not seconds:
            buckets.take(tx, limits or LIMIT, characters)
        return seconds


def standing(ledger: Ledger) -> dict[str, buckets.Bucket]:
    with ledger.transaction() as tx:
        return {bucket.name: bucket for bucket in buckets.standing(tx)}


def pass_(ledger: Ledger, seconds: float) -> None:
    """Let time pass for the buckets."""
    with ledger.transaction() as tx:
        tx.connection.execute(
            "UPDATE claim_buckets SET refilled_at = refilled_at - make_interval(secs => %s)", (seconds,)
        )


def test_what_is_taken_too_much_has_to_come_back_first(ledger: Ledger) -> None:
    assert claim(ledger, 3_000) == 0, "a batch is taken whole: it may be larger than the bucket"
    waits = claim(ledger, 1)
    assert 0 < waits <= (3_000 - BURST) / 100
    pass_(ledger, waits - 1)
    assert 0 < claim(ledger, 1) <= 1
    pass_(ledger, 1.1)
    assert claim(ledger, 1) == 0
    bucket = standing(ledger)["tenant:acme"]
    assert (bucket.per_minute, bucket.claimed, bucket.refused) == (6_000, 3_001, 2)


def test_it_holds_no_more_than_its_burst_however_long_nobody_claims(ledger: Ledger) -> None:
    assert claim(ledger, 1) == 0
    pass_(ledger, 86_400)
    assert claim(ledger, round(BURST) + 500) == 0
    assert claim(ledger, 1) > 4


def test_a_claim_takes_from_all_of_its_limits_or_from_none(ledger: Ledger) -> None:
    both = {"tenant:acme": 6_000.0, "pool:default": 600.0}
    assert claim(ledger, 500, both) == 0
    assert claim(ledger, 10, both) > 39, "the pool has claimed 400 too many, at 10 a second"
    found = standing(ledger)
    assert (found["tenant:acme"].claimed, found["tenant:acme"].refused, found["tenant:acme"].wait_seconds) == (
        500,
        0,
        0,
    )
    assert found["pool:default"].refused == 1
    assert found["pool:default"].wait_seconds > 38
    assert claim(ledger, 10) == 0, "another pool's workers may claim for the tenant"


def test_of_many_that_claim_at_once_none_gets_what_another_has_taken(ledger: Ledger) -> None:
    with ThreadPoolExecutor(4) as pool:
        waits = list(pool.map(lambda _: claim(ledger, round(2 * BURST)), range(12)))
    assert waits.count(0.0) == 1
    assert standing(ledger)["tenant:acme"].claimed == 2 * BURST


def test_what_nobody_has_asked_for_a_day_is_forgotten_unless_it_still_holds_somebody(ledger: Ledger) -> None:
    debt = {"tenant:b": 6_000.0}
    assert claim(ledger, 1) == claim(ledger, 100 * 86_400, debt) == 0
    for seconds, left in ((86_000, 2), (1_000, 1), (86_400, 0)):
        pass_(ledger, seconds)
        with ledger.transaction() as tx:
            tx.run("forget_buckets")
            assert tx.connection.execute("SELECT count(*) FROM claim_buckets").fetchone() == (left,)


def test_a_limit_that_is_lowered_holds_at_once(ledger: Ledger) -> None:
    assert claim(ledger, 1) == 0
    assert claim(ledger, 1, {"tenant:acme": 60.0}) == 0
    assert claim(ledger, 20, {"tenant:acme": 60.0}) == 0
    assert claim(ledger, 1, {"tenant:acme": 60.0}) > 5


def test_who_is_frozen_inside_a_claim_holds_up_nobody(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = Ledger(ledger.dsn, "frozen")

    def freeze() -> None:
        monkeypatch.setattr(connection, "PIPELINE_SECONDS", 1)
        with frozen.pipeline() as tx:
            monkeypatch.undo()
            assert buckets.wait_seconds(tx, LIMIT) == 0
            assert claim(ledger, 1) == 0

    with pytest.raises(psycopg.OperationalError):
        freeze()
    frozen.close()


def test_a_claim_that_waits_too_long_is_nobodys_fault(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PIPELINE_SECONDS", 1)
    with ledger.transaction() as holder:
        assert buckets.wait_seconds(holder, LIMIT) == 0
        with pytest.raises(SystemicError, match="waited for others"):
            claim(ledger, 1)


def test_blocks_that_rest_for_longer_are_not_called_earlier(ledger: Ledger) -> None:
    job = make_job(ledger, [0], 2)
    with ledger.transaction() as tx:
        tx.connection.execute(
            "UPDATE blocks SET not_before = now() + interval '1 hour' WHERE job_id = %s AND number = 0", (job,)
        )
        assert tx.run("rest_batch_for", job_id=job, batch=0, wait_seconds=10) == 1
        waits = tx.connection.execute(
            "SELECT extract(epoch FROM not_before - now())::float8 FROM blocks WHERE job_id = %s ORDER BY number",
            (job,),
        ).fetchall()
    assert waits == [(3_600,), (10,)]
