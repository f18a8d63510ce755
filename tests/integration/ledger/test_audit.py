"""What the ledger keeps for those who ask later: refusals are recorded, and nobody rewrites what has happened."""

from __future__ import annotations

import time
from uuid import UUID

import psycopg
import pytest

from fixtures.ledger import claim, finish, make_job
from tradu.errors import StaleLeaseError
from tradu.ledger.connection import Ledger
from tradu.ledger.leases import stage_lease
from tradu.ledger.rows import HistoryRow, Incident
from tradu.ledger.states import DocumentState

ROLE = "tradu_archive"


@pytest.fixture
def job(ledger: Ledger) -> UUID:
    return make_job(ledger, [0], 4)


def incidents(ledger: Ledger) -> list[Incident]:
    with ledger.transaction() as tx:
        return tx.rows("incidents", Incident, job_id=None, limit=100)


def partition_of(ledger: Ledger, table: str) -> str:
    with ledger.transaction() as tx:
        ((name,),) = tx.connection.execute(f"SELECT DISTINCT tableoid::regclass::text FROM {table}").fetchall()
    return str(name)


def test_a_refused_transition_is_recorded(ledger: Ledger, job: UUID) -> None:
    with ledger.transaction() as tx:
        tx.connection.execute("UPDATE blocks SET state = 'COMPLETED' WHERE job_id = %s", (job,))
    with pytest.raises(psycopg.Error, match="illegal transition"), ledger.transaction("r7") as tx:
        tx.connection.execute("UPDATE blocks SET state = 'VALIDATING' WHERE job_id = %s", (job,))
    (incident,) = incidents(ledger)
    assert (incident.kind, incident.actor, incident.request_id) == ("illegal_transition", "test", "r7")
    assert "COMPLETED -> VALIDATING" in incident.reason


def test_a_partition_is_guarded_like_its_table(ledger: Ledger, job: UUID) -> None:
    blocks, history = partition_of(ledger, "blocks"), partition_of(ledger, "history")
    with pytest.raises(psycopg.Error, match="illegal transition"), ledger.transaction() as tx:
        tx.connection.execute(f"UPDATE {blocks} SET state = 'VALIDATING'")
    with ledger.transaction() as tx:
        tx.connection.execute(f"UPDATE {blocks} SET state = 'CANCELED'")
    with ledger.transaction() as tx:
        written = tx.connection.execute("SELECT count(*) FROM history WHERE to_state = 'CANCELED'").fetchone()
    assert written == (4,)
    for statement in (f"UPDATE {history} SET actor = 'x'", f"DELETE FROM {history}", f"TRUNCATE {history}"):
        with pytest.raises(psycopg.Error, match="append-only"), ledger.transaction() as tx:
            tx.connection.execute(statement)


@pytest.mark.parametrize("table", ["history", "incidents"])
def test_only_the_archive_role_deletes(ledger: Ledger, job: UUID, table: str) -> None:
    with ledger.transaction() as tx:
        tx.run("report_incident", kind="slow", reason="x", job_id=job, entity=None, entity_id=None)
    for statement in (f"UPDATE {table} SET actor = 'x'", f"DELETE FROM {table}", f"TRUNCATE {table}"):
        with pytest.raises(psycopg.Error, match="append-only"), ledger.transaction() as tx:
            tx.connection.execute(statement)
    with ledger.transaction() as tx:
        tx.connection.execute(
            f"DO $$ BEGIN CREATE ROLE {ROLE}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
        tx.connection.execute(f"GRANT SELECT, UPDATE, DELETE ON {table} TO {ROLE}")
    change = f"SET LOCAL ROLE {ROLE}; UPDATE {table} SET actor = 'x'"
    with pytest.raises(psycopg.Error, match="append-only"), ledger.transaction() as tx:
        tx.connection.execute(change)
    with ledger.transaction() as tx:
        tx.connection.execute(f"SET LOCAL ROLE {ROLE}")
        assert tx.connection.execute(f"DELETE FROM {table} WHERE job_id = %s", (job,)).rowcount > 0


def test_the_history_of_a_block_says_which_models(ledger: Ledger, job: UUID) -> None:
    with ledger.transaction() as tx:
        claims = claim(tx, job, 0)
        finish(tx, job, claims)
        steps = tx.rows("history_of", HistoryRow, job_id=job, entity_ids=[str(claims[0].block_id)])
    assert {s.to_state: s.detail for s in steps if s.detail} == {"VALIDATING": "economy, firefox-en-pt@1"}


def test_who_has_lost_a_stage_writes_nothing_more(ledger: Ledger, job: UUID) -> None:
    with ledger.transaction() as tx:
        tx.run(
            "register_document",
            job_id=job,
            document_id="d" * 64,
            paths=["a.txt"],
            origin="file:///a.txt",
            format="text",
            source="en",
            language_confidence=1.0,
            size_bytes=1,
            error=None,
        )
    move = {"job_id": job, "state": DocumentState.PARTITIONED, "from_states": [DocumentState.REGISTERED]}
    with ledger.transaction() as tx:  # a lease that nobody renews, as of a process that is frozen
        ((token,),) = tx.tuples("lease_stage", job_id=job, stage="partition", lease_seconds=0.2)
    from tradu.ledger.leases import StageLedger

    frozen = StageLedger(ledger.as_actor("frozen"), job, "partition", token)
    with frozen.transaction() as tx:
        tx.run("move_documents", **move)
    time.sleep(0.3)
    with stage_lease(ledger, job, "partition", 60, "second") as second:
        for attempt in (frozen.check, frozen.transaction().__enter__, frozen.pipeline().__enter__):
            with pytest.raises(StaleLeaseError, match="taken over"):
                attempt()
        second.check()
        with second.transaction() as tx:
            assert tx.run("move_documents", **move) == 0
    assert {(i.kind, i.actor) for i in incidents(ledger)} == {("stale_stage", "frozen")}
