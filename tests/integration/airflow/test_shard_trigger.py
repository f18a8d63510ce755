"""The trigger against a real ledger and Dask scheduler: it ends its task by itself, once, and notices a lost shard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg
import pytest
from distributed import Client, LocalCluster

from tradu.cluster import KEY, has_arrived
from tradu.cluster.batch import run_batch
from tradu.ledger import blocks
from tradu.ledger.blocks import NewBatch, NewBlock
from tradu.ledger.connection import Ledger
from tradu.ledger.jobs import JobRequest, admit
from tradu_airflow.triggers import ShardPoller

SHARDS = 3
NOBODY = "tcp://127.0.0.1:1"


@pytest.fixture(scope="module")
def dask() -> Iterator[Client]:
    """A scheduler without workers: what it is given waits there."""
    cluster = LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0")
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def ledger(ledger_database: str) -> Iterator[Ledger]:
    ledger = Ledger(ledger_database, "test")
    yield ledger
    ledger.close()


@pytest.fixture
def job(ledger: Ledger) -> UUID:
    job = admit(JobRequest(["file:///x"], ["pt"], "key"), "run", ledger).job_id
    with ledger.transaction() as tx:
        batches = [NewBatch(n, "en", "pt", "part", n, 10) for n in range(SHARDS)]
        blocks.add(tx, job, batches, [NewBlock("d" * 64, "pt", n, n, 1, 10) for n in range(SHARDS)])
        tx.run("place_batches", job_id=job, batches=[0, 1, 2], shards=[0, 1, 2])
        tx.run("add_shards", job_id=job, count=SHARDS)
    return job


def close_shard(ledger: Ledger, job: UUID, shard: int) -> None:
    with ledger.transaction() as tx:
        tx.connection.execute(
            "UPDATE blocks SET state = 'COMPLETED' WHERE job_id = %s AND batch = %s AND state = 'PENDING'", (job, shard)
        )


def test_each_shard_ends_when_its_blocks_do(ledger_database: str, ledger: Ledger, job: UUID) -> None:
    async def scenario() -> list[str]:
        poller = ShardPoller(ledger_database, NOBODY, poll_seconds=0.05, stall_seconds=60)
        waits = [asyncio.create_task(poller.wait(job, shard)) for shard in range(SHARDS)]
        await asyncio.sleep(0.3)
        assert not any(w.done() for w in waits)
        close_shard(ledger, job, 1)
        await asyncio.wait_for(waits[1], 5)
        assert not waits[0].done()
        close_shard(ledger, job, 0)
        close_shard(ledger, job, 2)
        return await asyncio.wait_for(asyncio.gather(*waits), 5)

    assert asyncio.run(scenario()) == ["done"] * SHARDS


def test_two_triggers_of_one_shard_both_end(ledger_database: str, ledger: Ledger, job: UUID) -> None:
    async def scenario() -> list[str]:
        poller = ShardPoller(ledger_database, NOBODY, poll_seconds=0.05, stall_seconds=60)
        waits = [asyncio.create_task(poller.wait(job, 0)) for _ in range(2)]
        await asyncio.sleep(0.2)
        close_shard(ledger, job, 0)
        return await asyncio.wait_for(asyncio.gather(*waits), 5)

    assert asyncio.run(scenario()) == ["done", "done"]


def test_a_shard_that_dask_has_lost_is_noticed_and_one_that_waits_in_its_queue_is_left_alone(
    ledger_database: str, job: UUID, dask: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tradu_airflow.triggers.RETRY_SECONDS", 0.1)
    keys = [(KEY, str(job), shard, 1, shard) for shard in range(2)]
    waits = dask.submit(run_batch, str(job), 0, key=keys[0])
    stranded = dask.submit(run_batch, str(job), 1, key=keys[1], resources={"pool-without-workers": 1})
    while not dask.run_on_scheduler(has_arrived, keys=keys):
        pass

    async def scenario() -> list[str]:
        poller = ShardPoller(ledger_database, dask.scheduler.address, poll_seconds=0.05, stall_seconds=0.3)
        queued, *lost = [asyncio.create_task(poller.wait(job, shard)) for shard in range(SHARDS)]
        outcomes = await asyncio.wait_for(asyncio.gather(*lost), 10)
        assert not queued.done(), "they were asked about together"
        await asyncio.to_thread(waits.cancel)
        return [*outcomes, await asyncio.wait_for(queued, 10)]

    assert asyncio.run(scenario()) == ["stalled"] * SHARDS
    stranded.cancel()


def test_while_no_scheduler_answers_a_shard_waits(
    ledger_database: str, ledger: Ledger, job: UUID, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tradu_airflow.triggers.RETRY_SECONDS", 0.1)

    async def scenario() -> str:
        wait = asyncio.create_task(
            ShardPoller(ledger_database, NOBODY, poll_seconds=0.05, stall_seconds=0).wait(job, 0)
        )
        while "does not answer" not in caplog.text:
            await asyncio.sleep(0.05)
        assert not wait.done()
        close_shard(ledger, job, 0)
        return await asyncio.wait_for(wait, 5)

    assert asyncio.run(scenario()) == "done"


def test_a_slow_shard_with_a_live_lease_is_left_alone(
    ledger_database: str, ledger: Ledger, job: UUID, dask: Client
) -> None:
    with ledger.transaction() as tx:
        tx.run("claim", job_id=job, batch=0, again=False, max_attempts=3, lease_seconds=60)

    async def scenario() -> None:
        poller = ShardPoller(ledger_database, dask.scheduler.address, poll_seconds=0.05, stall_seconds=0.3)
        await asyncio.wait_for(poller.wait(job, 0), 0.8)

    with pytest.raises(TimeoutError):
        asyncio.run(scenario())


def test_a_cancelled_job_ends_its_shards(ledger_database: str, ledger: Ledger, job: UUID) -> None:
    with ledger.transaction() as tx:
        tx.run("end_job", job_id=job, state="CANCELED", reason="test")

    async def scenario() -> str:
        return await asyncio.wait_for(
            ShardPoller(ledger_database, NOBODY, poll_seconds=0.05, stall_seconds=60).wait(job, 0), 5
        )

    assert asyncio.run(scenario()) == "stopped"


def test_a_job_that_the_ledger_does_not_know_ends_its_shards_and_no_others(ledger_database: str, job: UUID) -> None:
    async def scenario() -> str:
        poller = ShardPoller(ledger_database, NOBODY, poll_seconds=0.05, stall_seconds=60)
        known, unknown = [asyncio.create_task(poller.wait(each, 0)) for each in (job, uuid4())]
        outcome = await asyncio.wait_for(unknown, 5)
        assert not known.done()
        known.cancel()
        return outcome

    assert asyncio.run(scenario()) == "stopped"


def test_a_ledger_that_drops_connections_is_asked_again(
    ledger_database: str, ledger: Ledger, job: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tradu_airflow.triggers.RETRY_SECONDS", 0.1)

    async def scenario() -> str:
        wait = asyncio.create_task(
            ShardPoller(ledger_database, NOBODY, poll_seconds=0.05, stall_seconds=60).wait(job, 0)
        )
        await asyncio.sleep(0.3)
        with psycopg.connect(ledger_database, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid()"
            )
        await asyncio.sleep(0.3)
        close_shard(ledger, job, 0)
        return await asyncio.wait_for(wait, 5)

    assert asyncio.run(scenario()) == "done"
