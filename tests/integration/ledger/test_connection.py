"""Transactions on a real PostgreSQL: a pipeline is whole or nothing too, and a connection that died is noticed."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest

from fixtures.ledger import make_job
from tradu.ledger.connection import ILLEGAL_TRANSITION, Ledger
from tradu.ledger.rows import Incident


@pytest.fixture
def job(ledger: Ledger) -> UUID:
    return make_job(ledger, [0], 2)


def counted(ledger: Ledger) -> int:
    with ledger.transaction() as tx:
        return sum(blocks for (blocks,) in tx.connection.execute("SELECT blocks FROM throughput"))


def test_a_pipeline_commits_what_was_only_sent(ledger: Ledger) -> None:
    with ledger.pipeline("r1") as tx:
        tx.send("count_throughput", blocks=2, characters=10)
        tx.send("count_throughput", blocks=3, characters=10)
    assert counted(ledger) == 5


def test_nothing_of_a_pipeline_stays_when_its_block_fails(ledger: Ledger) -> None:
    def fail() -> None:
        with ledger.pipeline() as tx:
            tx.send("count_throughput", blocks=2, characters=10)
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        fail()
    assert counted(ledger) == 0


def test_a_statement_that_fails_unseen_undoes_the_whole_pipeline(ledger: Ledger, job: UUID) -> None:
    def move_too_far() -> None:
        with ledger.pipeline("r1") as tx:
            tx.send("count_throughput", blocks=2, characters=10)
            tx.connection.execute("UPDATE blocks SET state = 'COMPLETED' WHERE job_id = %s", (job,))
            tx.connection.execute("UPDATE blocks SET state = 'CANCELED' WHERE job_id = %s", (job,))
            tx.send("count_throughput", blocks=2, characters=10)

    with pytest.raises(psycopg.Error, match="illegal transition") as raised:
        move_too_far()
    assert raised.value.sqlstate == ILLEGAL_TRANSITION
    assert counted(ledger) == 0
    with ledger.transaction() as tx:
        (incident,) = tx.rows("incidents", Incident, job_id=None, limit=10)
    assert incident.kind == "illegal_transition"
    assert incident.request_id == "r1"


def test_who_acts_for_which_request_is_said_in_a_pipeline_too(ledger: Ledger) -> None:
    with ledger.pipeline("r7") as tx:
        said = tx.connection.execute("SELECT actor(), request_id()").fetchone()
    assert said == ("test", "r7")
    with ledger.transaction() as tx:
        plan = tx.connection.execute("SHOW plan_cache_mode").fetchone()
    assert plan == ("auto",), "only for the pipeline"


def test_a_connection_that_was_terminated_is_not_used_again(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        ((first,),) = tx.connection.execute("SELECT pg_backend_pid()").fetchall()
    with psycopg.connect(ledger.dsn, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (first,))
    with ledger.pipeline() as tx:
        ((second,),) = tx.connection.execute("SELECT pg_backend_pid()").fetchall()
    assert second != first


def test_a_query_by_itself_leaves_no_transaction_open(ledger: Ledger, job: UUID) -> None:
    assert ledger.tuples("to_come", job_id=job, batch=0) == [(2,)]
    with psycopg.connect(ledger.dsn) as other:
        idle = other.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND datname = current_database()"
        )
        assert idle.fetchone() == (0,)
