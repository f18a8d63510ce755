"""Partitions come and go beside running work, whatever is killed, and never with a row in them."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from fixtures.ledger import DOCUMENT, make_current, make_job, take
from tradu.errors import RequestError, TransientError
from tradu.ledger import blocks, dump, ids, partitions
from tradu.ledger.blocks import NewBatch, NewBlock
from tradu.ledger.connection import Ledger
from tradu.ledger.migrate import migrate
from tradu.ledger.partitions import Month
from tradu.settings import get_settings

OLD = Month(2024, 2)
TABLES = {"batches", "blocks", "dead_letters", "documents", "history", "objects", "outputs", "shards"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "LOCK_SECONDS", 0.2)


def now() -> datetime:
    return datetime.now(UTC)


def old_job(ledger: Ledger, month: Month = OLD) -> UUID:
    """A job of a past month, with rows, that has ended."""
    at = month.first + timedelta(days=3)
    job = ids.new_job_id(at, secrets.token_bytes(10))
    with ledger.transaction() as tx:
        tx.connection.execute("SELECT ensure_partitions(%s)", (at,))
        for state in ("ADMITTED", "RUNNING", "COMPLETED"):
            tx.connection.execute(
                "INSERT INTO jobs (job_id, idempotency_key, request_id, state, source, targets, profile, documents) "
                "VALUES (%s, %s, '', %s, 'en', '{pt}', 'balanced', '{x}') "
                "ON CONFLICT (job_id) DO UPDATE SET state = excluded.state",
                (job, str(job), state),
            )
        blocks.add(tx, job, [NewBatch(0, "en", "pt", "p", 0, 1)], [NewBlock(DOCUMENT, "pt", 0, 0, 1, 25)])
    return job


def archive(ledger: Ledger, job: UUID) -> None:
    """Take the rows of a job out of the ledger, as archiving does."""
    with ledger.transaction() as tx:
        tx.connection.execute("UPDATE jobs SET residence = 'cold' WHERE job_id = %s", (job,))
        tx.connection.execute("SET LOCAL ROLE tradu_archive")
        for table in TABLES & set(dump.TABLES):
            tx.connection.execute(f"DELETE FROM {table} WHERE job_id = %s", (job,))


def months(ledger: Ledger) -> dict[Month, set[tuple[str, str]]]:
    return {m.month: {(p.parent, p.attachment) for p in m.partitions} for m in partitions.look(ledger)}


def whole(attachment: str = "attached") -> set[tuple[str, str]]:
    return {(table, attachment) for table in TABLES}


@contextmanager
def reading(ledger: Ledger, table: str) -> Iterator[None]:
    """Somebody has read the table in a transaction that goes on."""
    with psycopg.connect(ledger.dsn) as connection:
        connection.execute(f"SELECT count(*) FROM {table}")
        yield
        connection.rollback()


def test_months_are_made_ahead_and_a_second_time_nothing_is(ledger: Ledger) -> None:
    assert list(months(ledger)) == partitions.ahead(now())
    later = Month.of(now()).plus(14).first
    assert partitions.make_ahead(ledger, later) == partitions.ahead(later)
    assert partitions.make_ahead(ledger, later) == []
    assert months(ledger)[Month.of(later).plus(2)] == whole()


def test_months_that_an_older_version_made_are_known_after_a_migration(empty_database: str) -> None:
    before = (get_settings().include / "migrations/sql/0003_audit.sql").read_text()
    older = before[before.index("CREATE OR REPLACE FUNCTION ensure_partitions") : before.rindex("SELECT ensure_part")]
    migrate(empty_database)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        (newer,) = connection.execute("SELECT pg_get_functiondef('ensure_partitions'::regproc)").fetchone() or ("",)
        connection.execute(older.encode())
        opened = Ledger(empty_database, "test")
        job = old_job(opened)
        connection.execute(newer)
    assert old_job(opened) != job
    assert months(opened)[OLD] == whole()
    with opened.transaction() as tx:
        assert tx.connection.execute("SELECT count(*) FROM blocks").fetchone() == (2,)
    opened.close()


def test_making_a_month_waits_for_nobody_who_reads_or_writes(ledger: Ledger) -> None:
    job = make_job(ledger, [0], 3)
    with ledger.transaction() as tx:
        tx.run("next_epoch", job_id=job, shard=0)
        tx.connection.execute("UPDATE blocks SET updated_at = now()")
        with psycopg.connect(ledger.dsn) as other:
            other.execute("SET lock_timeout = '2s'")
            other.execute("SELECT ensure_partitions('2031-01-15')")
    assert months(ledger)[Month(2031, 1)] == whole()


def test_a_month_is_dropped_when_all_its_jobs_are_archived(ledger: Ledger) -> None:
    first, second = old_job(ledger), old_job(ledger)
    archive(ledger, first)
    with pytest.raises(RequestError, match="1 of its jobs are not archived"):
        partitions.drop(ledger, OLD, now())
    archive(ledger, second)
    assert partitions.upkeep(ledger, now()) == {"months_made": 0, "months_dropped": 1, "months_busy": 0}
    assert OLD not in months(ledger)
    assert partitions.drop(ledger, OLD, now())  # a second time there is nothing to do
    (kept,) = [m for m in partitions.look(ledger) if m.month == Month.of(now())]
    assert (kept.jobs, kept.hot) == (0, 0)


def test_rows_keep_their_month_whatever_the_jobs_say(ledger: Ledger) -> None:
    job = old_job(ledger)
    with ledger.transaction() as tx:
        tx.connection.execute("UPDATE jobs SET residence = 'cold'")
    assert not partitions.drop(ledger, OLD, now())
    assert months(ledger)[OLD] == whole()
    with ledger.transaction() as tx:
        assert tx.tuples("progress", job_id=job) == [("PENDING", 1, 25)]


def test_a_month_that_is_not_over_stays(ledger: Ledger) -> None:
    for month in partitions.ahead(now()):
        with pytest.raises(RequestError, match="is not over"):
            partitions.drop(ledger, month, now())


def test_a_month_whose_job_is_being_restored_stays(ledger: Ledger) -> None:
    job = old_job(ledger)
    archive(ledger, job)
    with ledger.transaction() as tx:
        tx.run("lease_stage", job_id=job, stage="archive", lease_seconds=60)
    with pytest.raises(RequestError, match="1 at work"):
        partitions.drop(ledger, OLD, now())


def test_claims_go_on_while_a_month_waits_to_be_detached(ledger: Ledger) -> None:
    archive(ledger, old_job(ledger))
    job = make_job(ledger, range(20), 3)
    with reading(ledger, "blocks_2024_02"), ThreadPoolExecutor(1) as pool:
        dropped = pool.submit(partitions.drop, ledger, OLD, now())
        for batch in range(20):  # each in its own transaction; a lock would let them wait for the reader, for ever
            make_current(ledger, job, batch, take(ledger, job, batch), f"results/{batch}")
        with pytest.raises(TransientError, match="in use"):
            dropped.result(30)
    assert ("blocks", "attached") not in months(ledger)[OLD]
    assert partitions.drop(ledger, OLD, now())
    assert OLD not in months(ledger)


def test_a_session_killed_while_it_detaches_leaves_nothing_for_people_to_do(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "LOCK_SECONDS", 60)
    archive(ledger, old_job(ledger))
    with reading(ledger, "batches_2024_02"), ThreadPoolExecutor(1) as pool:
        dropped = pool.submit(partitions.drop, ledger, OLD, now())
        waiting = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE query LIKE 'ALTER TABLE%' AND wait_event_type = 'Lock'"
        )
        with psycopg.connect(ledger.dsn, autocommit=True) as admin:
            while not admin.execute(waiting).fetchall():
                assert not dropped.done()
        with pytest.raises(psycopg.OperationalError):
            dropped.result(30)
    assert ("batches", "detaching") in months(ledger)[OLD]
    assert partitions.drop(ledger, OLD, now())
    assert OLD not in months(ledger)


def test_a_job_can_come_back_to_a_month_that_is_half_detached(ledger: Ledger) -> None:
    archive(ledger, old_job(ledger))
    with reading(ledger, "batches_2024_02"), pytest.raises(TransientError, match="in use"):
        partitions.drop(ledger, OLD, now())
    assert ("batches", "detaching") in months(ledger)[OLD]
    job = old_job(ledger)
    assert months(ledger)[OLD] == whole()
    with ledger.transaction() as tx:
        assert tx.tuples("progress", job_id=job) == [("PENDING", 1, 25)]


@pytest.mark.parametrize("steps", range(1, 16, 3))
def test_whatever_was_done_before_a_kill_the_next_round_ends_it(ledger: Ledger, steps: int) -> None:
    archive(ledger, old_job(ledger))
    _halfway(ledger, steps)
    assert partitions.upkeep(ledger, now())["months_dropped"] == 1
    assert OLD not in months(ledger)


@pytest.mark.parametrize("steps", range(1, 16, 3))
def test_a_job_can_come_back_whatever_was_done_before_a_kill(ledger: Ledger, steps: int) -> None:
    archive(ledger, old_job(ledger))
    _halfway(ledger, steps)
    job = old_job(ledger)
    assert months(ledger)[OLD] == whole()
    with ledger.transaction() as tx:
        assert tx.connection.execute("SELECT count(*) FROM history WHERE entity = 'block'").fetchone() == (1,)
    for statement in ("DELETE FROM history", "DELETE FROM history_2024_02", "TRUNCATE history_2024_02"):
        with pytest.raises(psycopg.Error, match="append-only"), ledger.transaction() as tx:
            tx.connection.execute(statement)
    assert job


def _halfway(ledger: Ledger, steps: int) -> None:
    """So many of the steps of a drop: each table is detached, then each is dropped."""
    done = [f"ALTER TABLE {t} DETACH PARTITION {t}_2024_02 CONCURRENTLY" for t in sorted(TABLES)]
    done += [f"DROP TABLE {t}_2024_02" for t in sorted(TABLES)]
    with psycopg.connect(ledger.dsn, autocommit=True) as connection:
        for statement in done[:steps]:
            connection.execute(statement)


def test_rows_that_came_in_before_it_was_detached_bring_the_month_back(ledger: Ledger) -> None:
    archive(ledger, old_job(ledger))
    _halfway(ledger, 8)
    with psycopg.connect(ledger.dsn) as connection:
        connection.execute("INSERT INTO shards_2024_02 (job_id, shard) VALUES (%s, 0)", (ids.first_of(OLD.first),))
    assert not partitions.drop(ledger, OLD, now())
    assert months(ledger)[OLD] == whole()
    with ledger.transaction() as tx:
        assert tx.connection.execute("SELECT count(*) FROM shards").fetchone() == (1,)


def test_two_at_once_do_not_get_into_each_others_way(ledger: Ledger) -> None:
    for month in range(1, 5):
        archive(ledger, old_job(ledger, Month(2023, month)))
    both = threading.Barrier(2)

    def one() -> int:
        both.wait()
        return partitions.upkeep(ledger, now())["months_dropped"]

    with ThreadPoolExecutor(2) as pool:
        counts = [f.result(60) for f in [pool.submit(one), pool.submit(one)]]
    partitions.upkeep(ledger, now())
    assert sum(counts) >= 1
    assert list(months(ledger)) == partitions.ahead(now())
