"""The ledger on a real PostgreSQL: what the database itself refuses, and what a claim and its end write."""

from __future__ import annotations

import secrets
import threading
import time
from datetime import UTC, datetime
from itertools import pairwise
from uuid import UUID

import psycopg
import pytest

from tradu.ledger import blocks, ids, states
from tradu.ledger.blocks import NewBatch, NewBlock
from tradu.ledger.connection import Ledger
from tradu.ledger.jobs import JobRequest, admit
from tradu.ledger.migrate import is_current, migrate
from tradu.ledger.rows import Claim, HistoryRow

DOCUMENT = "d" * 64


def make_job(ledger: Ledger, key: str = "k", blocks_in_batch: int = 4) -> UUID:
    job = admit(JobRequest(["file:///x"], ["pt"], key, request_id="r1"), "run-1", ledger).job_id
    with ledger.transaction("r1") as tx:
        batch = NewBatch(0, "en", "pt", "blocks/part", 0, 100)
        blocks.add(tx, job, [batch], [NewBlock(DOCUMENT, "pt", n, 0, 1, 25) for n in range(blocks_in_batch)])
    return job


def claim(ledger: Ledger, job: UUID, lease_seconds: float = 60, *, again: bool = False) -> list[Claim]:
    with ledger.transaction("r1") as tx:
        return tx.rows("claim", Claim, job_id=job, batch=0, max_attempts=3, lease_seconds=lease_seconds, again=again)


def finish(ledger: Ledger, job: UUID, claims: list[Claim]) -> int:
    count = len(claims)
    with ledger.transaction("r1") as tx:
        return len(
            tx.tuples(
                "finish",
                job_id=job,
                block_ids=[c.block_id for c in claims],
                tokens=[c.token for c in claims],
                models=["m@1"] * count,
                tiers=["economy"] * count,
                scores=[1.0] * count,
                seconds=[0.1] * count,
                costs=[0.1] * count,
                reasons=[""] * count,
                processing_at=datetime.now(UTC),
                result="results/x",
            )
        )


def history(ledger: Ledger, job: UUID, block: UUID) -> list[tuple[str, str]]:
    with ledger.transaction() as tx:
        rows = tx.rows("history_of", HistoryRow, job_id=job, entity_ids=[str(block)])
    return [(r.from_state, r.to_state) for r in rows]


def test_migrating_twice_changes_nothing(empty_database: str) -> None:
    assert not is_current(empty_database)
    migrate(empty_database)
    migrate(empty_database)
    assert is_current(empty_database)
    with psycopg.connect(empty_database) as connection:
        held = set(connection.execute("SELECT entity, from_state, to_state FROM transitions").fetchall())
    assert held == set(states.rows())


def test_the_life_of_a_block_is_written_step_by_step(ledger: Ledger) -> None:
    job = make_job(ledger)
    claims = claim(ledger, job)
    assert finish(ledger, job, claims) == 4
    with ledger.transaction() as tx:
        tx.run("accept", job_id=job)
    steps = ["", "PENDING", "CLAIMED", "PROCESSING", "VALIDATING", "COMPLETED"]
    assert history(ledger, job, claims[0].block_id) == list(pairwise(steps))
    with ledger.transaction() as tx:
        (row, *_) = tx.rows("history_of", HistoryRow, job_id=job, entity_ids=[str(claims[0].block_id)])
    assert (row.actor, row.request_id) == ("test", "r1")


def test_partition_twice_adds_nothing(ledger: Ledger) -> None:
    job = make_job(ledger)
    with ledger.transaction() as tx:
        blocks.add(tx, job, [NewBatch(0, "en", "pt", "p", 0, 1)], [NewBlock(DOCUMENT, "pt", 0, 0, 1, 25)])
        assert sum(p[1] for p in tx.tuples("progress", job_id=job)) == 4


@pytest.mark.parametrize("state", ["COMPLETED", "VALIDATING", "nonsense"])
def test_the_database_refuses_an_illegal_transition(ledger: Ledger, state: str) -> None:
    job = make_job(ledger)
    claim(ledger, job)
    with pytest.raises(psycopg.Error, match="illegal transition of block"), ledger.transaction() as tx:
        tx.connection.execute("UPDATE blocks SET state = %s WHERE job_id = %s", (state, job))


def test_history_can_not_be_rewritten(ledger: Ledger) -> None:
    job = make_job(ledger)
    for statement in ("UPDATE history SET actor = 'x'", "DELETE FROM history"):
        with pytest.raises(psycopg.Error, match="append-only"), ledger.transaction() as tx:
            tx.connection.execute(statement)
    assert job


def test_a_block_is_claimed_once_until_its_lease_runs_out(ledger: Ledger) -> None:
    job = make_job(ledger)
    first = claim(ledger, job, lease_seconds=0.2)
    assert len(first) == 4
    assert claim(ledger, job) == []
    time.sleep(0.3)
    assert claim(ledger, job) == [], "what failed before is not taken with new blocks"
    second = [block for _ in first for block in claim(ledger, job, again=True)]
    assert {c.block_id for c in second} == {c.block_id for c in first}
    assert finish(ledger, job, first) == 0, "a stale token commits nothing"
    assert finish(ledger, job, second) == 4
    assert ("CLAIMED", "PENDING") in history(ledger, job, first[0].block_id)


def test_a_stale_block_does_not_cost_its_batch(ledger: Ledger) -> None:
    job = make_job(ledger)
    claims = claim(ledger, job)
    stale = Claim(claims[0].block_id, DOCUMENT, 0, claims[0].token - 1, 1)
    assert finish(ledger, job, [stale, *claims[1:]]) == 3


def test_two_workers_at_one_batch_share_it_without_overlap(ledger: Ledger) -> None:
    job = make_job(ledger, blocks_in_batch=200)
    got: list[list[Claim]] = []
    threads = [threading.Thread(target=lambda: got.append(claim(ledger, job))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [c.block_id for claims in got for c in claims]
    assert len(held) == len(set(held)) == 200


def test_a_spent_budget_quarantines_with_a_dead_letter(ledger: Ledger) -> None:
    job = make_job(ledger, blocks_in_batch=1)
    for number in range(3):
        claims = claim(ledger, job, again=number > 0)
        with ledger.transaction() as tx:
            tx.run(
                "hand_back",
                job_id=job,
                block_ids=[c.block_id for c in claims],
                tokens=[c.token for c in claims],
                error_class="model",
                reason="engine died",
                wait_seconds=0,
            )
    assert claim(ledger, job, again=True) == []
    with ledger.transaction() as tx:
        tx.run("close_exhausted", job_id=job, batch=0, max_attempts=3)
        assert tx.tuples("errors", job_id=job) == [("model", "engine died", 1)]
        letters = tx.connection.execute("SELECT error_class, reason FROM dead_letters").fetchall()
    assert letters == [("model", "engine died")]


def test_a_cancelled_job_is_not_claimed(ledger: Ledger) -> None:
    job = make_job(ledger)
    with ledger.transaction() as tx:
        tx.run("end_job", job_id=job, state="CANCELED", reason="test")
    assert claim(ledger, job) == []


def test_one_key_is_one_job_and_a_complete_one_is_left_alone(ledger: Ledger) -> None:
    request = JobRequest(["file:///x"], ["pt"], "same")
    first = admit(request, "run-1", ledger)
    second = admit(request, "run-2", ledger)
    assert (first.job_id, second.proceed) == (second.job_id, True)
    with ledger.transaction() as tx:
        tx.run("end_job", job_id=first.job_id, state="COMPLETED", reason=None)
    assert not admit(request, "run-3", ledger).proceed


def test_blocks_lie_in_the_partition_of_their_jobs_month(ledger: Ledger) -> None:
    old = ids.new_job_id(datetime(2024, 2, 29, 23, 59, tzinfo=UTC), secrets.token_bytes(10))
    with ledger.transaction() as tx:
        tx.connection.execute("SELECT ensure_partitions('2024-02-29 23:59+00')")
        blocks.add(tx, old, [NewBatch(0, "en", "pt", "p", 0, 1)], [NewBlock(DOCUMENT, "pt", 0, 0, 1, 25)])
        (where,) = tx.connection.execute("SELECT tableoid::regclass::text FROM blocks").fetchone()
    assert where == "blocks_2024_02"
    assert ids.created_at(ids.block_id(old, DOCUMENT, "pt", 0)).month == 2


def test_a_block_rests_before_it_is_tried_again(ledger: Ledger) -> None:
    job = make_job(ledger, blocks_in_batch=1)
    held = {"block_ids": [c.block_id for c in claim(ledger, job)], "error_class": "model", "reason": "x"}
    with ledger.transaction() as tx:
        tokens = [t for (t,) in tx.connection.execute("SELECT token FROM blocks").fetchall()]
        tx.run("hand_back", job_id=job, tokens=tokens, wait_seconds=0.4, **held)
    assert claim(ledger, job, again=True) == []
    time.sleep(0.5)
    assert len(claim(ledger, job, again=True)) == 1


def test_a_released_block_keeps_its_budget(ledger: Ledger) -> None:
    job = make_job(ledger, blocks_in_batch=2)
    claims = claim(ledger, job)
    with ledger.transaction() as tx:
        held = {"block_ids": [c.block_id for c in claims], "tokens": [c.token for c in claims]}
        tx.run("release", job_id=job, reason="the store is away", wait_seconds=0, **held)
    assert [c.attempt for c in claim(ledger, job)] == [1, 1]


def test_a_heartbeat_extends_only_what_is_still_held(ledger: Ledger) -> None:
    job = make_job(ledger, blocks_in_batch=2)
    claims = claim(ledger, job, lease_seconds=0.2)
    time.sleep(0.3)
    taken = claim(ledger, job, again=True)
    with ledger.transaction() as tx:
        assert tx.run("extend", job_id=job, batch=0, tokens=[c.token for c in claims], lease_seconds=60) == 1
        assert tx.run("extend", job_id=job, batch=0, tokens=[c.token for c in taken], lease_seconds=60) == 1


def test_a_stage_has_one_holder_until_its_lease_runs_out(ledger: Ledger) -> None:
    job = make_job(ledger)

    def lease(seconds: float) -> list[tuple[int]]:
        with ledger.transaction() as tx:
            return tx.tuples("lease_stage", job_id=job, stage="assemble", lease_seconds=seconds)

    ((first,),) = lease(0.3)
    assert lease(60) == []
    time.sleep(0.4)
    ((second,),) = lease(60)
    with ledger.transaction() as tx:
        assert tx.tuples("hold_stage", job_id=job, stage="assemble", token=first, states=["RUNNING"]) == []
        assert tx.tuples("hold_stage", job_id=job, stage="assemble", token=second, states=["RUNNING"]) == [(second,)]
        assert tx.run("extend_stage", job_id=job, stage="assemble", token=first, lease_seconds=60) == 0
