"""Rows of a job go out as Arrow and come back as they were, in whichever ledger."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg.types.json import Jsonb

from fixtures.ledger import accept, claim, make_current, make_job, quarantine, take
from fixtures.postgres import TestServer
from tradu.errors import DamagedError, RequestError
from tradu.ledger import dump
from tradu.ledger.connection import Ledger

NOT_OF_JOBS = {"archives", "archived_documents", "feed_decisions", "known_segments", "rollout_jobs"}
"""known_segments is dumped and names its job through its results object; the others are the catalogue of archives,
what rollouts have seen, and decisions that are kept for a week."""
ODD = 'tab\t, newline\n, backslash \\N, quote " and {brace}, ol\u00e9 \U0001f30d'


@pytest.fixture
def other(postgres_server: TestServer, empty_ledger: str) -> Iterator[Ledger]:
    dsn = postgres_server.create(empty_ledger)
    ledger = Ledger(dsn, "test")
    yield ledger
    ledger.close()
    postgres_server.drop(dsn)


def full_job(ledger: Ledger, key: str = "k") -> UUID:
    """A job with rows in every table."""
    job = make_job(ledger, [0, 1], 3, key)
    make_current(ledger, job, 0, take(ledger, job, 0), f"results/{job}/0", known=True)
    with ledger.transaction("r1") as tx:
        claim(tx, job, 1)
        accept(tx, job)
        waiting = [b for (b,) in tx.connection.execute("SELECT block_id FROM blocks WHERE batch = 1").fetchall()]
        quarantine(tx, job, waiting[:2])
        tx.run("add_shards", job_id=job, count=2)
        tx.run("next_epoch", job_id=job, shard=1)
        tx.run("lease_stage", job_id=job, stage="partition", lease_seconds=60)
        tx.run("decide", job_id=job, gate="blocks", decision="accept", by="ana", question=None)
        for reason in (ODD, "again"):
            tx.run("report_incident", kind="slow", reason=reason, job_id=job, entity=None, entity_id=None)
        document = {"paths": ["a, b.txt", ODD, ""], "origin": "file:///a", "format": None, "source": "en"}
        tx.run(
            "register_document", job_id=job, document_id="d" * 64, language_confidence=0.1, size_bytes=2**40, error=ODD,
            **document,
        )  # fmt: skip
        tx.run(
            "write_output", job_id=job, document_id="d" * 64, target="pt", size_bytes=1, sha256="0" * 64, units_in=1,
            units_out=1, segments=1, translated=1, untranslated=0,
        )  # fmt: skip
        tx.run(
            "add_spending", job_id=job, tiers=["economy"], models=["m@1"], texts=[1], characters=[2], climbed=[0],
            stayed=[0], seconds=[1 / 3], costs=[0.1 + 0.2],
        )  # fmt: skip
        tx.connection.execute("UPDATE jobs SET options = %s", (Jsonb({"n": 1, "s": ODD, "f": 0.1}),))
        tx.connection.execute('UPDATE dead_letters SET evidence = \'{"score": 1.10, "big": 123456789012345678901.50}\'')
    return job


def rows(ledger: Ledger, table: str, job: UUID) -> list[str]:
    """Every column of every row, as PostgreSQL writes it."""
    source = "known_segments JOIN results USING (result_id)" if table == "known_segments" else table
    with ledger.transaction() as tx:
        found = tx.connection.execute(f"SELECT t::text FROM {source} AS t WHERE job_id = %s ORDER BY 1", (job,))
        return [row for (row,) in found.fetchall()]


def everything(ledger: Ledger, job: UUID) -> dict[str, list[str]]:
    return {table: rows(ledger, table, job) for table in dump.TABLES}


def dumped(ledger: Ledger, job: UUID, page: int = 2) -> dict[str, bytes]:
    """Each table as a Parquet file."""
    files = {}
    for table in dump.TABLES:
        with ledger.transaction() as tx:
            fields = dump.schema(tx.connection, table)
            with pq.ParquetWriter(stream := io.BytesIO(), fields) as writer:
                for batch in dump.dump(tx.connection, table, job, page):
                    assert 0 < batch.num_rows <= page
                    writer.write_batch(batch)
        files[table] = stream.getvalue()
    return files


@contextmanager
def archivist(ledger: Ledger) -> Iterator[psycopg.Connection]:
    with ledger.transaction() as tx:
        tx.connection.execute("SET LOCAL ROLE tradu_archive")
        yield tx.connection


def load(ledger: Ledger, job: UUID, files: Mapping[str, bytes]) -> dict[str, int]:
    with archivist(ledger) as connection:
        return {
            table: dump.load(connection, table, job, pq.ParquetFile(io.BytesIO(data)).iter_batches(3))
            for table, data in files.items()
        }


def remove(ledger: Ledger, job: UUID) -> None:
    with archivist(ledger) as connection:
        for table in reversed(dump.TABLES):
            if table != "known_segments":  # goes with its results
                connection.execute(f"DELETE FROM {table} WHERE job_id = %s", (job,))


def test_every_table_with_rows_of_jobs_is_dumped(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        found = tx.connection.execute(
            "SELECT relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
            "WHERE attname = 'job_id' AND relkind IN ('r', 'p') AND NOT relispartition AND relpersistence = 'p'"
        ).fetchall()
    assert {name for (name,) in found} - NOT_OF_JOBS == set(dump.TABLES) - NOT_OF_JOBS


def test_what_was_removed_comes_back_bit_for_bit(ledger: Ledger) -> None:
    job, neighbour = full_job(ledger), make_job(ledger, [0], 2, "neighbour")
    before, beside = everything(ledger, job), everything(ledger, neighbour)
    assert all(before.values()), "the job must have rows in every table"
    files = dumped(ledger, job)
    assert dumped(ledger, job) == files, "a dump is always the same"
    remove(ledger, job)
    assert not any(everything(ledger, job).values())
    assert load(ledger, job, files) == {table: len(found) for table, found in before.items()}
    assert everything(ledger, job) == before
    assert set(load(ledger, job, files).values()) == {0}, "a second load adds nothing"
    assert everything(ledger, job) == before
    assert everything(ledger, neighbour) == beside


def test_another_ledger_takes_the_rows_and_goes_on(ledger: Ledger, other: Ledger) -> None:
    job = full_job(ledger)
    with ledger.transaction() as tx:
        tx.connection.execute("SELECT nextval('fencing_tokens') FROM generate_series(1, 100)")
        tx.run("lease_stage", job_id=job, stage="assemble", lease_seconds=60)
    before, files = everything(ledger, job), dumped(ledger, job)
    native = full_job(other, "native")  # has taken the first numbers of incidents and results
    beside = everything(other, native)
    load(other, job, files)
    load(other, job, files)
    after = everything(other, job)
    numbered = {"incidents", "results", "known_segments"}
    assert {t: r for t, r in after.items() if t not in numbered} == {
        t: r for t, r in before.items() if t not in numbered
    }
    assert {t: len(after[t]) for t in numbered} == {
        "incidents": 2,
        "results": 1,
        "known_segments": len(before["known_segments"]),
    }
    assert everything(other, native) == beside
    with other.transaction() as tx:
        ((token,),) = tx.tuples("lease_stage", job_id=native, stage="assemble", lease_seconds=60)
        (highest,) = tx.connection.execute(
            "SELECT max(token) FROM stage_leases WHERE job_id = %s", (job,)
        ).fetchone() or (0,)
    assert token >> 20 > highest >> 20
    full_job(other, "later")


def test_rows_that_contradict_the_ledger_are_refused(ledger: Ledger) -> None:
    job = full_job(ledger)
    files, before = dumped(ledger, job), everything(ledger, job)
    with ledger.transaction() as tx:
        tx.connection.execute("UPDATE documents SET source = 'es'")
    with pytest.raises(DamagedError, match="documents: the ledger has other rows"):
        load(ledger, job, {"documents": files["documents"]})
    with pytest.raises(DamagedError, match="has rows of job"):
        load(ledger, UUID(int=7), {"shards": files["shards"]})
    assert everything(ledger, job)["shards"] == before["shards"]


def test_a_dump_of_an_older_schema_is_loaded(ledger: Ledger) -> None:
    job = full_job(ledger)
    with ledger.transaction() as tx:
        batches = list(dump.dump(tx.connection, "history", job))
    before = everything(ledger, job)["history"]
    older = [batch.drop_columns(["detail"]) for batch in batches]
    with archivist(ledger) as connection:
        connection.execute("DELETE FROM history")
        assert dump.load(connection, "history", job, older) == len(before)
    with ledger.transaction() as tx:
        assert tx.connection.execute("SELECT count(*) FROM history WHERE detail IS NULL").fetchone() == (len(before),)


def test_a_dump_of_a_newer_schema_is_refused(ledger: Ledger) -> None:
    job = full_job(ledger)
    newer = pa.record_batch({"job_id": pa.array([job.bytes], pa.binary(16)), "shard": [1], "colour": ["red"]})
    with archivist(ledger) as connection, pytest.raises(RequestError, match="newer version of Tradu, it has colour"):
        dump.load(connection, "shards", job, [newer])


@pytest.mark.parametrize("table", ["circuits", "jobs; DROP TABLE jobs"])
def test_only_tables_with_rows_of_jobs_have_a_dump(ledger: Ledger, table: str) -> None:
    with ledger.transaction() as tx, pytest.raises(RequestError, match="no rows of jobs"):
        list(dump.dump(tx.connection, table, UUID(int=0)))


def test_only_the_archive_role_inserts_what_is_no_beginning(ledger: Ledger) -> None:
    job = full_job(ledger)
    arguments: dict[str, Any] = {"job_id": job, "id": UUID(int=5)}
    ended = (
        "INSERT INTO blocks (job_id, block_id, document_id, target, number, segments, characters, state) "
        "VALUES (%(job_id)s, %(id)s, 'x', 'pt', 99, 1, 1, 'COMPLETED')"
    )
    with pytest.raises(psycopg.Error, match="illegal transition"), ledger.transaction() as tx:
        tx.connection.execute(ended, arguments)
    before = rows(ledger, "history", job)
    with archivist(ledger) as connection:
        connection.execute(ended, arguments)
    assert rows(ledger, "history", job) == before
