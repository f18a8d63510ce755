"""Pools in a real ledger: one leads, an older epoch writes nothing, signals are cheap, decisions are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from fixtures.ledger import claim, finish, hand_back, make_job
from tradu.cli.main import app
from tradu.cluster.scaling.controller import Controller
from tradu.cluster.scaling.decide import Rule
from tradu.ledger import pools
from tradu.ledger.connection import Ledger
from tradu.ledger.sql import QUERIES
from tradu.settings import Settings
from tradu.store import Store

WANTED = {"pool": "cpu", "wanted": 2, "direction": 1, "changed_at": 0.0, "spare_since": None}
DECIDED = {"pool": "cpu", "before": 1, "wanted": 2, "rule": "queue", "reason": "r", "inputs": "{}"}


def lead(ledger: Ledger, holder: str, epoch: int = 0, seconds: float = 60, lock_timeout: str = "5s") -> int | None:
    with ledger.transaction() as tx:
        tx.connection.execute("SELECT set_config('lock_timeout', %s, true)", (lock_timeout,))
        return pools.lead(tx, holder, epoch, seconds)


def expire(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        tx.connection.execute("UPDATE controller SET lease_until = now() - interval '1 s'")


def test_one_leads_until_its_lease_has_run_out(ledger: Ledger) -> None:
    assert lead(ledger, "a") == 1
    assert lead(ledger, "b") is None
    assert lead(ledger, "a", 1) == 1, "it keeps its lead, and its epoch"
    assert lead(ledger, "a", 0) is None, "another process of that name does not"
    expire(ledger)
    assert lead(ledger, "b") == 2
    assert lead(ledger, "a", 1) is None
    with ledger.transaction() as tx:
        tx.run("step_down", holder="b", epoch=2)
    assert lead(ledger, "a", 1) == 3


@pytest.mark.parametrize("query", [("want", WANTED), ("add_decision", DECIDED)])
def test_what_an_older_epoch_writes_is_refused(ledger: Ledger, query: tuple[str, dict[str, Any]]) -> None:
    name, values = query
    assert lead(ledger, "a") == 1
    with ledger.transaction() as tx:
        tx.run(name, epoch=1, **values)
    expire(ledger)
    assert lead(ledger, "b") == 2
    with pytest.raises(psycopg.Error) as refused, ledger.transaction() as tx:
        tx.run(name, epoch=1, **(values | {"wanted": 7}))
    assert refused.value.sqlstate == pools.STALE_EPOCH
    with ledger.transaction() as tx:
        tx.run(name, epoch=2, **(values | {"wanted": 3}))


def test_nobody_takes_over_between_a_look_and_the_commit(ledger: Ledger) -> None:
    lead(ledger, "a", seconds=0)
    with ledger.transaction() as tx:
        tx.run("want", epoch=1, **WANTED)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            lead(ledger, "b", lock_timeout="50ms")
    assert lead(ledger, "b") == 2


def test_a_person_s_number_stays_until_the_pool_is_resumed(ledger: Ledger) -> None:
    lead(ledger, "a")
    with ledger.transaction() as tx:
        tx.run("want", epoch=1, **WANTED)
        assert tx.tuples("set_pool", pool="cpu", wanted=5, by="ana")
        tx.run("want", epoch=1, **WANTED)
        assert (pools.pools(tx)["cpu"].wanted, pools.pools(tx)["cpu"].set_by) == (5, "ana")
        tx.run("pause_pool", pool="cpu", paused=False, by="ana")
        tx.run("want", epoch=1, **WANTED)
        assert (pools.pools(tx)["cpu"].wanted, pools.pools(tx)["cpu"].set_by) == (2, None)
        assert not tx.tuples("set_pool", pool="gpu", wanted=5, by="ana")


def test_a_decision_is_kept_when_it_is_another_one(ledger: Ledger) -> None:
    lead(ledger, "a")
    with ledger.transaction() as tx:
        for changed in ({}, {}, {"rule": "steady"}, {"rule": "steady", "reason": "other words"}, {"wanted": 3}):
            tx.run("add_decision", epoch=1, **(DECIDED | changed))
        kept = tx.rows("decisions_about", pools.DecisionRow, pool="cpu", limit=10)
    assert [(row.rule, row.wanted) for row in kept] == [("queue", 3), ("steady", 2), ("queue", 2)]


def test_the_queue_is_what_may_be_claimed(ledger: Ledger) -> None:
    job = make_job(ledger, [0, 1], 5)
    start(ledger)
    assert queue(ledger) == 10
    with ledger.transaction() as tx:
        held = claim(tx, job, 0)
    assert queue(ledger) == 5
    with ledger.transaction() as tx:
        hand_back(tx, job, held[:2], wait_seconds=60)
        hand_back(tx, job, held[2:3])
    assert queue(ledger) == 6, "what rests is not waiting"
    assert queue(ledger, most=4) == 4, "no more than this is counted"
    with ledger.transaction() as tx:
        tx.run("end_job", job_id=job, state="ERROR", reason="")
    assert queue(ledger) == 0


def start(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        for (job_id,) in tx.tuples("running_jobs"):
            tx.run("start_job", job_id=job_id, run_id="r", request_id="r")


def queue(ledger: Ledger, most: int = 1_000) -> int:
    with ledger.transaction() as tx:
        ((queued, oldest, now),) = tx.tuples("queue_depth", most=most)
    assert 0 <= oldest < 60 < now
    return int(queued)


def scans(node: Any) -> Iterator[tuple[str, str]]:
    """Relation and kind of each scan of a plan."""
    if "Relation Name" in node:
        yield node["Relation Name"], node["Node Type"]
    for inner in node.get("Plans", []):
        yield from scans(inner)


def test_the_queue_is_read_from_an_index(ledger: Ledger) -> None:
    job = make_job(ledger, range(200), 20)
    make_job(ledger, range(50), 20, key="other")
    start(ledger)
    with ledger.transaction() as tx:
        tx.connection.execute("UPDATE blocks SET state = 'CANCELED' WHERE job_id = %s", (job,))
        tx.connection.execute("ANALYZE blocks; ANALYZE jobs")
        explained = psycopg.sql.SQL("EXPLAIN (FORMAT JSON) ") + QUERIES["queue_depth"]
        ((said,),) = tx.connection.execute(explained, {"most": 100}).fetchall()
    month = f"{datetime.now(UTC):%Y_%m}"
    kinds = {kind for relation, kind in scans(said[0]["Plan"]) if relation == f"blocks_{month}"}
    assert kinds
    assert all("Index" in kind or "Bitmap" in kind for kind in kinds), said


def test_latencies_are_quantiles_by_tier(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        pools.count_latencies(tx, [("economy", 0.01)] * 90 + [("economy", 1.0)] * 10)
        pools.count_latencies(tx, [("premium", 2.0), ("economy", 0.01)])
        found = {tier.tier: tier for tier in pools.latencies(tx)}
    assert found["economy"].blocks == 101
    assert found["economy"].seconds == pytest.approx(10.91)
    assert 0.01 <= found["economy"].p50_seconds <= 0.012
    assert 1.0 <= found["economy"].p95_seconds <= 1.2
    assert 2.0 <= found["premium"].p50_seconds <= 2.4


def test_a_drained_worker_s_blocks_go_back_with_their_budget(ledger: Ledger) -> None:
    job = make_job(ledger, [0, 1], 5)
    start(ledger)
    worker, other = (ledger.as_actor(f"worker-ab-{n}@host:{n}") for n in (1, 11))
    with worker.transaction() as tx:
        held = claim(tx, job, 0)
    with other.transaction() as tx:
        claim(tx, job, 1)
    with ledger.transaction() as tx:
        assert len(tx.tuples("give_up_blocks", instance="worker-ab-1@")) == 5
    with worker.transaction() as tx:
        assert finish(tx, job, held) == [], "what it still brings is refused"
        assert {c.attempt for c in claim(tx, job, 0)} == {1}, "the budget is as it was"


@pytest.mark.parametrize(
    ("wanted", "capacities", "expected"),
    [
        (3, [("a", 4), ("b", 4)], {"a": 2, "b": 1}),
        (9, [("a", 4), ("b", 4)], {"a": 4, "b": 4}),
        (5, [("a", 1), ("b", 8)], {"a": 1, "b": 4}),
        (0, [("a", 1)], {"a": 0}),
        (3, [], {}),
    ],
)
def test_agents_share_what_is_wanted(wanted: int, capacities: list[tuple[str, int]], expected: dict[str, int]) -> None:
    assert pools.shares(wanted, capacities) == expected


def test_metrics_that_can_not_be_written_stop_no_decision(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tradu.cluster.scaling.scheduler.CALL_SECONDS", 0.1)
    lead(ledger, "a")
    with ledger.transaction() as tx:
        tx.run("want", epoch=1, **WANTED)
        tx.run("step_down", holder="a", epoch=1)
    settings = Settings(home=tmp_path, dask_scheduler="tcp://127.0.0.1:1")
    Store(settings.store).create()
    (tmp_path / "metrics").write_text("in the way of the folder")
    assert Controller(ledger, settings, "b").tick()["cpu"].rule is Rule.STALE
    assert "metrics can't be written" in caplog.text
    with ledger.transaction() as tx:
        assert tx.rows("decisions_about", pools.DecisionRow, pool="cpu", limit=1)
    monkeypatch.setenv("TRADU_LEDGER_URL", ledger.dsn)
    told = CliRunner().invoke(app, ["scale", "explain"])
    assert (told.exit_code, "2 -> 2" in told.stdout, "ledger heard" in told.stdout) == (0, True, True), told.output
    data = json.loads(CliRunner().invoke(app, ["scale", "explain", "--json"]).stdout)
    assert ([d["rule"] for d in data["pool"]], data["sharding"], data["shards"]) == (["stale"], None, [])
