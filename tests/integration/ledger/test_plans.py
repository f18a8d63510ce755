"""How PostgreSQL carries out what the line asks all the time: one partition, by an index, whatever lies beside it.

The plans are those of the statements that the real functions send, prepared and in their transactions, with what their
triggers do: PostgreSQL's module auto_explain tells them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from benchmarks import history
from fixtures import ledger as work
from fixtures.ledger import DOCUMENT, make_current, make_job, take
from fixtures.years import job_of
from tradu.archival import rows
from tradu.ledger import ids
from tradu.ledger.connection import Ledger
from tradu.ledger.dump import dump
from tradu.ledger.partitions import Month, ahead
from tradu.ledger.rows import Block, Claim, PlacedBlock

EXPLAIN = {"log_min_duration": "0", "log_format": "json", "log_analyze": "on", "log_nested_statements": "on"}
IN_BATCH, BATCHES = 50, 100
MONTHS = 3
PAST = Month.of(datetime.now(UTC)).plus(-MONTHS - 1)
OF_PAST, IN_PAST = 20, 500
"""Jobs of a month that is archived, and blocks of each."""

MORE_DOCUMENTS = """
INSERT INTO documents (job_id, document_id, paths, origin, size_bytes, state)
SELECT job_id, md5(n::text), ARRAY[n::text], '', 0, 'REGISTERED' FROM jobs, generate_series(1, 1000) AS n
"""
MORE_KNOWN = """
INSERT INTO known_segments SELECT decode(md5(n::text), 'hex'), result_id, n FROM results, generate_series(1, 5000) AS n
"""
MORE_BATCHES = """
INSERT INTO batches (job_id, batch, source, target, part, row_group, characters)
SELECT job_id, n, 'en', 'pt', 'p', n, 1 FROM jobs, generate_series(1000, 4000) AS n
"""
"""A table that fits on a page is read from end to end, and rightly so."""


@dataclass
class Plans:
    """Plans that the server tells of while somebody listens."""

    ledger: Ledger
    job: UUID
    past: list[UUID]
    told: list[dict[str, Any]] = field(default_factory=list)

    def listen(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        _, found, plan = (diagnostic.message_primary or "").partition("plan:\n")
        if found:
            self.told.append(json.loads(plan))

    @contextmanager
    def of(self) -> Iterator[list[dict[str, Any]]]:
        self.told.clear()
        yield self.told


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node that was run."""
    if plan.get("Actual Loops", 0):
        yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


def scans(told: Sequence[dict[str, Any]], parent: str) -> set[tuple[str, str]]:
    """How partitions of a table were read: node and name of each."""
    return {
        (node["Node Type"], node["Relation Name"])
        for plan in told
        for node in nodes(plan["Plan"])
        if node.get("Relation Name", "").startswith(f"{parent}_2") and "Scan" in node["Node Type"]
    }


def assert_one_by_index(told: Sequence[dict[str, Any]], job: UUID, *tables: str) -> None:
    """Of each table one partition was read, that of the job, and never from end to end."""
    suffix = f"{ids.created_at(job):%Y_%m}"
    for table in tables:
        found = scans(told, table)
        assert {name for _, name in found} == {f"{table}_{suffix}"}, (table, found)
        assert {kind for kind, _ in found} <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}, (table, found)


@pytest.fixture(scope="module")
def plans(postgres_server: Any, empty_ledger: str) -> Iterator[Plans]:
    dsn = postgres_server.create(empty_ledger)
    ledger = Ledger(dsn, "setup")
    for back in range(1, MONTHS + 1):
        job_of(ledger, Month.of(datetime.now(UTC)).plus(-back).first, blocks=IN_BATCH * 40)
    job = make_job(ledger, range(BATCHES), IN_BATCH)
    with ledger.transaction() as tx:
        tx.run(
            "register_document", job_id=job, document_id=DOCUMENT, paths=["a.txt"], origin="file:///a", format="text",
            source="en", language_confidence=1.0, size_bytes=1, error=None,
        )  # fmt: skip
    make_current(ledger, job, BATCHES - 1, take(ledger, job, BATCHES - 1), f"results/{job}/known", known=True)
    ledger.close()
    with psycopg.connect(dsn, autocommit=True) as connection:
        for more in (MORE_DOCUMENTS, MORE_BATCHES, MORE_KNOWN):
            connection.execute(more)
    past = history.load(dsn, PAST, OF_PAST * IN_PAST, IN_PAST)  # VACUUM ANALYZE is its end
    options = " ".join(f"-c auto_explain.{name}={value}" for name, value in EXPLAIN.items())
    listening = make_conninfo(
        dsn, options=f"-c session_preload_libraries=auto_explain -c client_min_messages=log {options}"
    )
    ledger = Ledger(listening, "worker")
    made = Plans(ledger, job, past)
    with ledger.transaction() as tx:  # the pool hands out this one session
        tx.connection.add_notice_handler(made.listen)
    yield made
    ledger.close()
    postgres_server.drop(dsn)


def test_claim_and_finish(plans: Plans) -> None:
    claims: list[Claim] = []
    for batch in range(8):  # the plans of prepared statements are generic from the first time
        with plans.of() as told:
            claims = take(plans.ledger, plans.job, batch)
        assert len(claims) == IN_BATCH
        assert told
        assert_one_by_index(told, plans.job, "blocks", "batches")
        with plans.of() as told:
            make_current(plans.ledger, plans.job, batch, claims, f"results/{batch}", known=True)
        assert told
        assert_one_by_index(told, plans.job, "blocks")
        keyed = [n for plan in told for n in nodes(plan["Plan"]) if n.get("Relation Name") == "known_segments"]
        assert {n["Node Type"] for n in keyed} == {"ModifyTable"}  # by its primary key: ON CONFLICT


def test_claims_take_the_index_of_open_work(plans: Plans) -> None:
    with plans.of() as told:
        take(plans.ledger, plans.job, 20)
    used = {n.get("Index Name", "") for plan in told for n in nodes(plan["Plan"])}
    assert any(name.startswith("blocks_") and "batch" in name for name in used), used


def test_what_a_worker_does_with_failed_blocks(plans: Plans) -> None:
    for batch, give_back in ((21, work.hand_back), (22, work.release), (23, work.unreadable)):
        claims = take(plans.ledger, plans.job, batch)
        with plans.of() as told, plans.ledger.transaction() as tx:
            assert len(give_back(tx, plans.job, claims)) == IN_BATCH
        assert_one_by_index(told, plans.job, "blocks")


def test_one_block(plans: Plans) -> None:
    block = ids.block_id(plans.job, DOCUMENT, "pt", 4_321)
    low, high = ids.same_time_range(block)
    with plans.of() as told, plans.ledger.transaction() as tx:
        (found,) = tx.rows("find_block", Block, low=low, high=high, block_id=block)
    assert found.number == 4_321
    assert_one_by_index(told, plans.job, "blocks", "documents")


def test_a_page_of_a_document(plans: Plans) -> None:
    values = {"job_id": plans.job, "document_id": DOCUMENT, "target": "pt", "after": 3_000, "limit": 100}
    with plans.of() as told, plans.ledger.transaction() as tx:
        page = tx.rows("blocks_of_document", PlacedBlock, **values)
    assert [b.number for b in page] == list(range(3_001, 3_101))
    assert_one_by_index(told, plans.job, "blocks")
    (read,) = [n for p in told for n in nodes(p["Plan"]) if n.get("Relation Name", "").startswith("blocks_2")]
    assert read["Actual Rows"] <= 101  # in the order of the index: not all that follow, sorted


def test_history_of_a_block(plans: Plans) -> None:
    block = str(ids.block_id(plans.job, DOCUMENT, "pt", IN_BATCH * BATCHES - 1))
    with plans.of() as told, plans.ledger.transaction() as tx:
        assert len(tx.tuples("history_of", job_id=plans.job, entity_ids=[block])) == 4
    assert_one_by_index(told, plans.job, "history")


def test_known_translations(plans: Plans) -> None:
    first = (BATCHES - 1) * IN_BATCH
    keys = [
        hashlib.blake2b(ids.block_id(plans.job, DOCUMENT, "pt", first + n).bytes, digest_size=16).digest()
        for n in range(10)
    ]
    with plans.of() as told, plans.ledger.transaction() as tx:
        assert len(tx.tuples("find_known", keys=keys)) == 10
    (read,) = [n for p in told for n in nodes(p["Plan"]) if n.get("Relation Name") == "known_segments"]
    assert read["Node Type"] in {"Index Scan", "Bitmap Heap Scan"}


@pytest.mark.parametrize("query", ["known_raw", "kept_raw"])
def test_documents_by_content_take_the_index_of_each_month(plans: Plans, query: str) -> None:
    with plans.of() as told, plans.ledger.transaction() as tx:
        assert tx.tuples(query, document_ids=[DOCUMENT]) == [(DOCUMENT,)]
    small = {f"documents_{m.year}_{m.month:02d}" for m in (PAST, *ahead(datetime.now(UTC))[1:])}  # empty, or a page
    found = {scan for scan in scans(told, "documents") if scan[1] not in small}
    assert {kind for kind, _ in found} <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
    assert len(found) == MONTHS + 1


def test_archiving_a_job_reads_its_own_rows_alone(plans: Plans) -> None:
    """Also of the last one of its month, when all others have been removed and nothing is vacuumed yet."""
    for job in plans.past:
        with plans.of() as told, plans.ledger.transaction() as tx:
            counted = {table: sum(batch.num_rows for batch in dump(tx.connection, table, job)) for table in rows.TAKEN}
            assert tx.tuples("has_history", job_id=job)
            tx.connection.execute("SET LOCAL ROLE tradu_archive")
            assert rows.delete(tx, job) == {table: count for table, count in counted.items() if count}
        assert (counted["blocks"], counted["history"]) == (IN_PAST, IN_PAST)
        assert_one_by_index(told, job, "blocks", "history")
        read = [n for p in told for n in nodes(p["Plan"]) if n.get("Relation Name", "").startswith(("blocks_", "hist"))]
        assert max(n["Actual Rows"] for n in read) <= IN_PAST
        assert not any(n.get("Rows Removed by Filter") for n in read)
