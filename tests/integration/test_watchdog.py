"""The watchdogs on a real ledger and store: what is lost is found and set right, what lives is left alone."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from fixtures.ledger import claim
from fixtures.line import Line
from tradu import layout
from tradu.cluster import batch
from tradu.ledger.connection import Ledger
from tradu.ledger.jobs import find
from tradu.ledger.rows import Incident, Minute
from tradu.settings import get_settings
from tradu.watchdog import AttentionError, blocks, instances, look, orphans, pipeline, sweep, tell
from tradu_airflow import stages

LEASE_SECONDS = 0.3


@pytest.fixture(autouse=True)
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_LEASE_SECONDS", str(LEASE_SECONDS))
    monkeypatch.setenv("TRADU_MAX_BLOCK_CHARS", "60")


@pytest.fixture
def job(the_line: Line) -> str:
    the_line.put({"a.txt": "\n\n".join(f"The harbour of town {n} was closed all winter." for n in range(4))})
    job = the_line.admit(source="en")
    the_line.prepare(job)
    assert len(the_line.blocks(job)) == 4
    return job


def take(the_line: Line, job: str, seconds: float, actor: str) -> None:
    with the_line.ledger.as_actor(actor).transaction() as tx:
        assert claim(tx, UUID(job), 0, seconds=seconds)


def see(ledger: Ledger, instance: str) -> None:
    with ledger.transaction() as tx:
        tx.run("see_instance", instance_id=instance, kind=instance.split("@", maxsplit=1)[0])


def kinds(the_line: Line) -> list[str]:
    with the_line.ledger.transaction() as tx:
        return [i.kind for i in tx.rows("incidents", Incident, job_id=None, limit=100)]


def test_expired_leases_go_back_and_spent_blocks_are_closed(the_line: Line, job: str) -> None:
    take(the_line, job, LEASE_SECONDS, "worker-1")
    assert blocks.look(the_line.ledger, get_settings()) == {"blocks_freed": 0, "blocks_closed": 0}
    time.sleep(2 * LEASE_SECONDS + 0.1)
    assert blocks.look(the_line.ledger, get_settings()) == {"blocks_freed": 4, "blocks_closed": 0}
    assert {(b.state, b.attempt) for b in the_line.blocks(job)} == {("PENDING", 1)}
    with the_line.ledger.transaction() as tx:
        tx.connection.execute("UPDATE blocks SET attempt = 3 WHERE number = 2")
    assert blocks.look(the_line.ledger, get_settings()) == {"blocks_freed": 0, "blocks_closed": 1}
    assert [b.number for b in the_line.blocks(job) if b.state == "ERROR"] == [2]
    assert kinds(the_line) == ["blocks_freed"]


def test_a_lost_instance_lets_go_and_a_slow_one_is_left_alone(the_line: Line, job: str) -> None:
    slow, gone = "worker-slow@here:1", "worker-gone@here:2"
    see(the_line.ledger, gone)
    take(the_line, job, 3_600, gone)  # a lease that would hold for an hour
    time.sleep(3 * LEASE_SECONDS + 0.1)
    see(the_line.ledger, slow)
    found = instances.look(the_line.ledger, get_settings())
    assert found == {"instances_lost": 1, "leases_freed": 4}
    with the_line.ledger.transaction() as tx:
        lost = dict(tx.connection.execute("SELECT instance_id, lost_at IS NOT NULL FROM instances").fetchall())
        assert lost == {slow: False, gone: True}
    with the_line.ledger.as_actor(slow).transaction() as tx:
        assert len(claim(tx, UUID(job), 0, again=True, seconds=3_600)) == 1
    time.sleep(LEASE_SECONDS)
    see(the_line.ledger, slow)
    assert instances.look(the_line.ledger, get_settings()) == {"instances_lost": 0, "leases_freed": 0}
    assert [b.claimed_by for b in the_line.blocks(job) if b.claimed_by == slow] == [slow]
    assert kinds(the_line) == ["instance_lost"]


def test_one_round_of_all_watchdogs_on_a_quiet_line(the_line: Line, job: str) -> None:
    found = look()
    assert {"instances_lost", "leases_freed", "blocks_freed", "blocks_closed", "slow", "months_made"} <= set(found)
    sizes = {"ledger_dead_rows", "ledger_oldest_transaction_seconds"}
    assert {what: count for what, count in found.items() if count and what not in sizes} == {}
    assert sweep() == {"orphans": 0, "removed": 0, "missing": 0}
    tell()


def test_objects_without_a_row_and_rows_without_an_object(the_line: Line, job: str) -> None:
    root, day = Path(the_line.store.root), 86_400
    strange = {
        f"results/{job}/0000000-99.parquet": "removed",
        f"blocks/{job}/stranger.tmp": "told",
        f"{layout.INCOMING}abc": "removed",
        f"output/{job}/pt/stranger.txt": "told",
        f"results/{uuid4()}/0000000-1.parquet": "told",
        f"raw/aa/{'a' * 64}": "told",
    }
    for key in strange:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(b"x")
    assert orphans.look(the_line.ledger, the_line.store, get_settings())["orphans"] == 0, "all of it is young"
    for file in root.rglob("*"):
        if file.is_file():
            os.utime(file, (time.time() - 2 * day,) * 2)
    (root / layout.index_key(UUID(job), 0)).unlink()
    assert orphans.look(the_line.ledger, the_line.store, get_settings()) == {"orphans": 4, "removed": 2, "missing": 1}
    assert {key: (root / key).exists() for key in strange} == {key: fate == "told" for key, fate in strange.items()}
    assert sorted(kinds(the_line)) == ["object_missing"] + 4 * ["object_orphaned"]
    assert (root / layout.part_key(UUID(job), 0)).exists()


def minutes(*rates: int, waiting: bool = True) -> list[Minute]:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    return [Minute(now - timedelta(minutes=n), rate // 100, rate, waiting) for n, rate in enumerate(rates)]


@pytest.mark.parametrize(
    ("history", "kind"),
    [
        (minutes(*[1_000] * 60), None),
        (minutes(*[200] * 5, *[1_000] * 60), "slow"),
        (minutes(*[300] * 5, *[1_000] * 60), None),
        (minutes(*[0] * 5, *[1_000] * 60), "standstill"),
        (minutes(*[0] * 60, waiting=False), None),
        (minutes(*[200] * 5, *[1_000] * 5), None),
        (minutes(*[0] * 4), None),
    ],
    ids=["steady", "slow", "slower", "standstill", "idle", "no history", "just started"],
)
def test_slow_is_measured_against_the_lines_own_history(history: list[Minute], kind: str | None) -> None:
    found = pipeline.judge(history)
    assert (found[0] if found else None) == kind


def test_a_standstill_is_told_to_people_now_and_then(the_line: Line, job: str) -> None:
    with the_line.ledger.transaction() as tx:
        tx.connection.execute(
            "INSERT INTO throughput SELECT date_trunc('minute', now()) - n * interval '1 minute', 0, 0, true "
            "FROM generate_series(2, 7) AS n"
        )
    for _ in range(3):
        assert look()["slow"] == 1
    assert kinds(the_line) == ["standstill"]
    with pytest.raises(AttentionError, match="work waits, and no block was done in 5 minutes"):
        tell()
    tell()


def test_throughput_is_counted_at_the_commit(the_line: Line, job: str) -> None:
    batch.run_batch(job, 0)
    with the_line.ledger.transaction() as tx:
        counted = tx.connection.execute("SELECT sum(blocks), sum(characters) FROM throughput").fetchone()
    assert counted == (4, sum(b.characters for b in the_line.blocks(job)))


def test_a_job_that_has_lost_its_run_is_told(the_line: Line, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tell()
    monkeypatch.setattr(pipeline, "IDLE_SECONDS", 0.5)
    time.sleep(1)
    with pytest.raises(AttentionError, match=f"tradu resume {job}"):
        tell()


def test_a_job_whose_run_is_over_ends_and_one_whose_run_waits_does_not(
    the_line: Line, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    the_line.admit("lives", source="en")
    the_line.admit("taken up", source="en")
    runs = {"run-key", "run-lives", "run-taken up"}
    asked: list[list[str]] = []

    def living(run_ids: Sequence[str]) -> int:
        asked.append(sorted(run_ids))
        with the_line.ledger.transaction() as tx:  # meanwhile
            tx.connection.execute("UPDATE jobs SET run_id = 'another' WHERE idempotency_key = 'taken up'")
        return len({"run-lives"} & set(run_ids))

    def states() -> dict[str, str]:
        with the_line.ledger.transaction() as tx:
            return dict(tx.connection.execute("SELECT idempotency_key, state FROM jobs").fetchall())

    assert pipeline.end_lost(the_line.ledger, living) == []
    assert asked == [], "all of them are young"
    monkeypatch.setattr(pipeline, "LOST_SECONDS", 0)
    assert pipeline.end_lost(the_line.ledger, living) == [UUID(job)]
    assert asked[0] == sorted(runs)
    assert states() == {"key": "ERROR", "lives": "RUNNING", "taken up": "RUNNING"}
    assert "tradu resume" in (find(UUID(job), the_line.ledger).reason or "")
    the_line.admit("key", source="en")
    assert states()["key"] == "RUNNING", "it goes on"


def test_the_alert_about_lost_runs_has_a_command_for_each_job(
    the_line: Line, job: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class NoRuns:
        def get_dr_count(self, dag_id: str, run_ids: list[str], states: list[str]) -> int:
            return 0

    other = the_line.admit("other", source="en")
    monkeypatch.setattr(pipeline, "LOST_SECONDS", 0)
    monkeypatch.setattr(stages, "get_current_context", lambda: {"ti": NoRuns()})
    assert stages.end_lost_jobs() == {"jobs_lost": 2}
    commands = caplog.messages[-1].partition("ended in ERROR: ")[2].split("; ")
    assert sorted(commands) == sorted(f"tradu resume {lost}" for lost in (job, other))


def test_what_an_older_schema_knew_is_no_orphan(the_line: Line, job: str) -> None:
    batch.run_batch(job, 0)
    (key,) = {b.result or "" for b in the_line.blocks(job)}
    with the_line.ledger.transaction() as tx:
        tx.run("forget_objects", job_id=UUID(job), object_keys=[key])
    file = Path(the_line.store.path(key))
    os.utime(file, (time.time() - 200_000,) * 2)
    orphans.look(the_line.ledger, the_line.store, get_settings())
    assert file.exists()
