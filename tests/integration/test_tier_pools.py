"""A tier on a pool of its own: what scores low is done there, and where the pool has no worker nothing is held up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

import pytest
from distributed import Client, LocalCluster

from fixtures.line import Line
from tradu.cluster import attempt, batch, dispatch, feed, is_alive, pools, resource, segments, workers
from tradu.ledger import buckets
from tradu.ledger.rows import HistoryRow, Spending
from tradu.settings import get_settings

PROFILES = """
profiles:
  strict: {description: Much climbs., tiers: [standard, premium], climb_below: 0.93}
  top: {description: All is done by the highest., tiers: [standard, premium], climb_below: 1}
  dearest: {description: The highest does it., tiers: [premium]}
"""
LIMIT = "pools:\n  dear: {characters_per_minute: 600}\n"  # 10 a second, 100 at once
GOOD = "The harbour was closed all winter.\n"
LOW = "The name is bound to the object in the outer namespace determined by nonlocal.\n"
PREMIUM = "firefox-en-pt-reranked"


@pytest.fixture(scope="module")
def dask_cluster() -> Iterator[str]:
    """Workers of this module alone."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", memory_limit=0
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def client(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    (the_line.folder / "profiles.yaml").write_text(PROFILES)
    monkeypatch.setenv("TRADU_TIER_POOLS", '{"premium": "dear"}')
    the_line.put({"good.txt": GOOD, "low.txt": LOW})
    with Client(get_settings().dask_scheduler, set_as_default=False) as connected:
        yield connected


def start(client: Client, pool_names: Sequence[str], tiers: str = '{"premium": "dear"}') -> list[str]:
    """The workers in these pools; their addresses."""
    addresses: list[str] = sorted(client.scheduler_info()["workers"])
    for address, pool in zip(addresses, pool_names, strict=True):
        client.run(_begin_anew, {"TRADU_POOL": pool, "TRADU_TIER_POOLS": tiers}, workers=[address])
    client.run(_only_its_own)  # as a worker that was started in this pool and in no other one
    until(lambda: sorted(h.pool for h in workers.observed(client.scheduler_info())) == sorted(pool_names))
    return addresses


def _begin_anew(environment: dict[str, str]) -> None:
    import os

    segments.engines().close()
    os.environ.update(environment)


async def _only_its_own(dask_worker: object) -> None:
    await workers.Models().setup(dask_worker)  # type: ignore[arg-type]
    mine = resource(get_settings().pool)
    others = {name: 0.0 for name in dask_worker.state.total_resources if name.startswith("pool-") and name != mine}  # type: ignore[attr-defined]
    await dask_worker.set_resources(**others)  # type: ignore[attr-defined]


def _models() -> set[str]:
    return {name.partition("@")[0] for name in segments.engines().held().models}


def history(the_line: Line, job: str, path: str) -> list[HistoryRow]:
    document = the_line.documents(job)[path].document_id
    with the_line.ledger.transaction() as tx:
        ids = [str(b.block_id) for b in the_line.blocks(job) if b.document_id == document]
        return tx.rows("history_of", HistoryRow, job_id=UUID(job), entity_ids=ids)


def spending(the_line: Line, job: str) -> dict[str, Spending]:
    with the_line.ledger.transaction() as tx:
        return {row.tier: row for row in tx.rows("spending", Spending, job_id=UUID(job))}


def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_scores_low_is_done_by_the_tiers_own_workers_and_comes_out_the_same(
    the_line: Line, client: Client
) -> None:
    cheap, dear = start(client, ["default", "dear"])
    job = the_line.admit("pools", source="en", profile="strict")
    the_line.infer(job, the_line.prepare(job))
    assert PREMIUM in client.run(_models)[dear]
    assert PREMIUM not in client.run(_models)[cheap]
    (only,) = {s.actor for s in history(the_line, job, "good.txt") if s.to_state == "VALIDATING"}
    steps = history(the_line, job, "low.txt")
    assert [s.to_state for s in steps] == [
        *("PENDING", "CLAIMED", "PROCESSING", "VALIDATING"),
        *("PENDING", "CLAIMED", "PROCESSING", "VALIDATING", "PROCESSING", "VALIDATING"),
    ]
    assert steps[4].reason == "1 of 1 segments are not good enough and wait for premium"
    assert steps[1].actor == steps[4].actor == only
    assert {s.actor for s in steps[5:]} != {only}
    assert [s.attempt for s in steps if s.to_state == "CLAIMED"] == [1, 1], "it spends no retry budget"
    assert spending(the_line, job)["premium"].texts == 1
    assert the_line.deliver(job) == "COMPLETED"

    start(client, ["default", "default"], "{}")
    with the_line.ledger.transaction() as tx:
        tx.connection.execute("DELETE FROM known_segments")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADU_TIER_POOLS", "{}")
        together = the_line.admit("together", source="en", profile="strict")
        the_line.infer(together, the_line.prepare(together))
    assert spending(the_line, together)["premium"].texts == 1
    assert the_line.deliver(together) == "COMPLETED"
    for path in ("good.txt", "low.txt"):
        assert the_line.output(together, path) == the_line.output(job, path)


def test_where_the_pool_has_no_worker_the_block_stays_and_says_so(the_line: Line, client: Client) -> None:
    start(client, ["default", "default"])
    job = the_line.admit("alone", source="en", profile="strict")
    (shard,) = the_line.prepare(job)
    dispatch.submit(UUID(job), shard, the_line.ledger, get_settings())
    number = pools.batch_of(0, "premium")
    until(lambda: any(b.batch == number and b.state == "PENDING" for b in the_line.blocks(job)))
    until(lambda: not client.run_on_scheduler(is_alive, job=job, shard=shard, epoch=1))
    assert {b.state for b in the_line.blocks(job)} == {"PENDING", "VALIDATING"}
    the_line.infer(job, [shard])  # as the shard's trigger does when nothing has changed for a while
    assert sorted(b.reason or "" for b in the_line.blocks(job)) == [
        "",
        "1 of 1 segments scored low and did not climb: no worker serves premium",
    ]
    assert spending(the_line, job)["standard"].stayed == 1
    assert the_line.deliver(job) == "COMPLETED"


@pytest.fixture
def at_default(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process works as a worker of the default pool."""
    monkeypatch.setenv("TRADU_LEASE_SECONDS", "1")
    monkeypatch.setattr(segments._kept, "_last", None)


def test_what_was_handed_on_and_never_reported_the_next_one_reports(
    the_line: Line, at_default: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = the_line.admit("forgotten", source="en", profile="strict")
    the_line.prepare(job)
    handed_on = ((pools.batch_of(0, "premium"), "dear"),)
    with monkeypatch.context() as patch:
        patch.setattr(attempt, "_commit", lambda *_: sys.exit())  # it dies when it has handed on the low one
        with pytest.raises(SystemExit):
            batch.run_batch(job, 0)
    second = batch.run_batch(job, 0)
    assert (second.accepted, second.handed_on) == (1, handed_on)
    assert batch.run_batch(job, 0).handed_on == handed_on, "as where Dask does it once more"
    assert batch.run_batch(job, 0, alone=True).handed_on == (), "nobody is there"
    with the_line.ledger.transaction() as tx:
        tx.connection.execute("UPDATE blocks SET state = 'CANCELED' WHERE job_id = %s AND state = 'PENDING'", (job,))
    assert batch.run_batch(job, 0).handed_on == (), "nothing waits there any more"


def test_blocks_of_two_profiles_go_on_to_two_tiers(
    the_line: Line, at_default: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADU_TIER_POOLS", '{"standard": "mid", "premium": "dear"}')
    job = the_line.admit("two", source="en", profile="strict")
    the_line.prepare(job)
    low = the_line.documents(job)["low.txt"].document_id
    with the_line.ledger.transaction() as tx:
        chosen = "UPDATE blocks SET profile = 'dearest' WHERE job_id = %s AND document_id = %s"
        tx.connection.execute(chosen, (job, low))
    assert set(batch.run_batch(job, 0).handed_on) == {
        (pools.batch_of(0, "standard"), "mid"),
        (pools.batch_of(0, "premium"), "dear"),
    }


def test_what_a_limit_of_the_other_pool_holds_back_goes_on_as_soon_as_it_may(
    the_line: Line, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    (the_line.folder / "admission.yaml").write_text(LIMIT)
    monkeypatch.setenv("TRADU_BATCH_CHARS", "40")
    start(client, ["default", "dear"])
    the_line.put({f"held/{n}.txt": f"The harbour number {n} was closed all winter.\n" for n in range(4)})
    job = the_line.admit("held", source="en", profile="top", documents=[f"{get_settings().landing}/held/"])
    (shard,) = the_line.prepare(job)
    the_line.infer(job, [shard])
    steps = [step for path in the_line.documents(job) for step in history(the_line, job, path)]
    assert [step.reason for step in steps if step.to_state == "PENDING"] == [
        None,
        "premium is served by another pool",
    ] * 4
    with the_line.ledger.transaction() as tx:
        (bucket,) = buckets.standing(tx)
        assert tx.tuples("epoch", job_id=UUID(job), shard=shard) == [(1,)], "it was not submitted again"
    assert bucket.refused > 0
    assert {b.attempt for b in the_line.blocks(job)} == {1}, "and nothing was spent"
    assert the_line.deliver(job) == "COMPLETED"


def test_shards_that_do_without_the_pool_are_fed_as_the_default_one_can_take_them(
    the_line: Line, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADU_BATCH_CHARS", "40")
    start(client, ["default", "default"])
    the_line.put({f"many/{n}.txt": LOW.replace("name", f"name {n}") for n in range(6)})
    job = the_line.admit("many", source="en", profile="strict", documents=[f"{get_settings().landing}/many/"])
    (shard,) = the_line.prepare(job)
    dispatch.submit(UUID(job), shard, the_line.ledger, get_settings())
    first = pools.batch_of(0, "premium")
    until(lambda: all(b.batch >= first and b.state == "PENDING" for b in the_line.blocks(job)))
    until(lambda: not client.run_on_scheduler(is_alive, job=job, shard=shard, epoch=1))
    with the_line.ledger.transaction() as tx:  # whoever claims waits until these rows are free
        tx.connection.execute("SELECT FROM blocks WHERE job_id = %s FOR UPDATE", (job,))
        dispatch.submit(UUID(job), shard, the_line.ledger, get_settings())
        (standing,) = client.run_on_scheduler(feed.standing)
    assert standing.ceiling == 4
    until(lambda: {b.state for b in the_line.blocks(job)} == {"VALIDATING"})
