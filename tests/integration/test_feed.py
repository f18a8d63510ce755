"""Shards are fed to a real cluster: as many batches as it can take, fewer when something is wrong, a limit holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from distributed import Client, Status
from prometheus_client import generate_latest
from typer.testing import CliRunner

from fixtures.line import Line
from fixtures.wait import until
from tradu.cli.main import app
from tradu.cluster import FEEDERS, KEY, dispatch, feed, journal
from tradu.cluster.window import GROWS, Cause, replayed
from tradu.ledger import buckets
from tradu.ledger.pools import FeedDecision
from tradu.settings import get_settings

MOST = 4
"""Two workers of a thread: each has one batch that it works on, and one that waits."""
LIMIT = """
tenants: {slow: {characters_per_minute: 60_000}} # 1,000 a second
pools: {nobodys: {characters_per_minute: 60_000}}
"""
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def client(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("TRADU_BATCH_CHARS", "1000")
    monkeypatch.setattr(journal, "WRITE_SECONDS", 0.2)
    with Client(get_settings().dask_scheduler, set_as_default=False) as connected:
        yield connected
        connected.run(_mend)
        connected.run(_unpause)


def begin(line: Line, key: str, sentences: int, **asked: Any) -> str:
    """A job of one document, most of it batches of a block; handed to the cluster."""
    line.put({f"{key}/text.txt": "".join(f"In {key} the ship number {n} came home.\n\n" for n in range(sentences))})
    job = line.admit(key, source="en", documents=[f"{get_settings().landing}/{key}/"], **asked)
    for shard in line.prepare(job):
        dispatch.submit(UUID(job), shard, line.ledger, get_settings())
    return job


def fed(client: Client) -> list[feed.Standing]:
    found: list[feed.Standing] = client.run_on_scheduler(feed.standing)
    return found


def decided(line: Line, job: str) -> list[FeedDecision]:
    """What was decided about the shards of a job, the oldest first."""
    with line.ledger.transaction() as tx:
        rows = tx.rows("feed_decisions", FeedDecision, job_id=UUID(job), limit=1_000)
    return sorted(rows, key=lambda row: row.number)


def shrunk(client: Client, cause: Cause) -> int:
    """How often fewer were sent for this."""
    found: int = client.run_on_scheduler(_shrunk, cause)
    return found


def _shrunk(cause: Cause, dask_scheduler: Any = None) -> int:
    feeders = dask_scheduler.plugins.get(FEEDERS)
    return 0 if feeders is None else feeders.shrunk[cause]


def _at_cluster(job: str, dask_scheduler: Any = None) -> int:
    return sum(1 for key in dask_scheduler.tasks if isinstance(key, tuple) and key[:2] == (KEY, job))


async def _pause(dask_worker: Any) -> None:
    dask_worker.status = Status.paused


async def _unpause(dask_worker: Any) -> None:
    dask_worker.status = Status.running


def _break_first_attempts() -> None:
    """In a worker: the first attempt at each block fails."""
    from tradu.cluster import batch
    from tradu.errors import ModelError

    real = batch.attempt

    def fails(ledger: Any, job: Any, task: Any, claims: Any, *rest: Any, **named: Any) -> Any:
        if claims[0].attempt == 1:
            raise ModelError("the engine died")
        return real(ledger, job, task, claims, *rest, **named)

    batch.attempt, batch.really = fails, lambda: setattr(batch, "attempt", real)  # type: ignore[attr-defined, assignment]


def _slow_the_store() -> None:
    """In a worker: what is written from the eighth batch on takes long."""
    import time

    from tradu import tables
    from tradu.cluster import batch

    real, before = tables.write, [0]

    def slow(*args: Any, **named: Any) -> Any:
        before[0] += 1
        if before[0] > 8:
            time.sleep(0.5)
        return real(*args, **named)

    tables.write, batch.really = slow, lambda: setattr(tables, "write", real)  # type: ignore[attr-defined]


def _mend() -> None:
    from tradu.cluster import batch

    if hasattr(batch, "really"):
        batch.really()
        del batch.really


def test_a_shard_has_no_more_at_the_cluster_than_each_worker_can_have(the_line: Line, client: Client) -> None:
    job, seen = begin(the_line, "many", 900), [0]
    batches = {block.batch for block in the_line.blocks(job)}
    assert len(batches) > 5 * MOST

    def done() -> bool:
        seen.append(client.run_on_scheduler(_at_cluster, job))
        return not any(block.state == "PENDING" for block in the_line.blocks(job))

    until(done)
    assert 0 < max(seen) <= MOST
    until(lambda: fed(client) == [])
    assert {block.state for block in the_line.blocks(job)} == {"VALIDATING"}
    assert {block.attempt for block in the_line.blocks(job)} == {1}


def test_fewer_are_sent_while_a_worker_is_short_of_memory(the_line: Line, client: Client) -> None:
    job = begin(the_line, "memory", 900)
    before = shrunk(client, Cause.MEMORY)
    client.run(_pause, workers=sorted(client.scheduler_info()["workers"])[:1])
    until(lambda: [s.cause for s in fed(client)] == [Cause.MEMORY])
    assert shrunk(client, Cause.MEMORY) > before
    assert b'tradu_batches_limit_decreases_total{cause="memory"}' in generate_latest(), (
        "the scheduler runs in this process"
    )
    (shard,) = json.loads(CliRunner().invoke(app, ["scale", "status", "--json"]).stdout)["shards"]
    assert (shard["job"], shard["why"]) == (job, "a worker is short of memory")
    assert shard["limit"] < MOST
    client.run(_unpause)
    until(lambda: fed(client) == [])
    assert {block.state for block in the_line.blocks(job)} == {"VALIDATING"}
    until(lambda: Cause.MEMORY in {d.rule for d in decided(the_line, job)})
    found = decided(the_line, job)
    assert all(later.before == earlier.most for earlier, later in pairwise(found))
    assert all(replayed(d.inputs).limit == d.most != d.before for d in found if d.rule != GROWS)  # those may be several
    (cut,) = [d for d in found if d.rule == Cause.MEMORY][:1]
    assert cut.reason == "a worker is short of memory"
    assert cut.most < cut.before <= MOST
    told = CliRunner().invoke(app, ["scale", "explain", "--job", job, "--limit", "100"]).stdout
    assert cut.reason in told
    assert f"{cut.before} -> {cut.most}" in told
    assert "1 shards (unmeasured)" in told
    data = json.loads(CliRunner().invoke(app, ["scale", "explain", "--job", job, "--limit", "1", "--json"]).stdout)
    assert [d["job_id"] for d in data["shards"]] == [job]


@pytest.mark.parametrize(
    ("harm", "cause"), [(_break_first_attempts, Cause.ERRORS), (_slow_the_store, Cause.DOWNSTREAM)]
)
def test_fewer_are_sent_while_it_lasts(the_line: Line, client: Client, harm: Any, cause: Cause) -> None:
    client.run(harm)
    job = begin(the_line, str(cause), 900)
    before = shrunk(client, cause)
    until(lambda: [s.cause for s in fed(client)] == [cause])
    assert shrunk(client, cause) > before
    client.run(_mend)
    until(lambda: fed(client) == [])
    assert {block.state for block in the_line.blocks(job)} == {"VALIDATING"}


def test_a_limit_of_claims_holds_a_tenant_and_nobody_else(the_line: Line, client: Client) -> None:
    (the_line.folder / "admission.yaml").write_text(LIMIT)
    slow = begin(the_line, "slow", 450, tenant="slow")
    begin(the_line, "quick", 100)
    until(lambda: [s.job for s in fed(client)] == [slow])
    until(lambda: [s.job for s in fed(client) if s.resting_seconds > 0] == [slow])
    shown = CliRunner().invoke(app, ["queue"])
    assert "tenant:slow" in shown.stdout
    assert "no claim" in next(row for row in shown.stdout.splitlines() if row.startswith("pool:nobodys"))
    assert "pool 'nobodys'" in shown.stderr
    until(lambda: fed(client) == [])
    blocks = the_line.blocks(slow)
    assert {(block.state, block.attempt) for block in blocks} == {("VALIDATING", 1)}
    with the_line.ledger.transaction() as tx:
        (bucket,) = buckets.standing(tx)
        claims = tx.connection.execute(
            "SELECT extract(epoch FROM at)::float8, characters FROM history h "
            "JOIN blocks b ON b.block_id::text = h.entity_id "
            "WHERE h.job_id = %s AND h.to_state = 'CLAIMED' ORDER BY at",
            (slow,),
        ).fetchall()
    assert bucket.refused > 0
    assert bucket.claimed == sum(characters for _, characters in claims) > 11_000
    claimed = 0
    for at, characters in claims:
        assert claimed <= 1_000 * (at - claims[0][0] + buckets.BURST_SECONDS + 1)
        claimed += characters
