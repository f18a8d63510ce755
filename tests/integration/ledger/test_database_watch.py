"""The health of a real database: a forgotten transaction is seen, told once, and gone when it ends."""

from __future__ import annotations

import psycopg
import pytest

from fixtures.ledger import make_job
from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Incident
from tradu.settings import get_settings
from tradu.watchdog import database, pipeline


def incidents(ledger: Ledger) -> list[str]:
    with ledger.transaction() as tx:
        return [i.kind for i in tx.rows("incidents", Incident, job_id=None, limit=100)]


def test_a_forgotten_transaction_is_seen(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    assert database.look(ledger)["ledger_unwell"] == 0
    monkeypatch.setattr(database, "IDLE_SECONDS", 0.0)
    with psycopg.connect(ledger.dsn, application_name="forgetful") as connection:
        connection.execute("SELECT 1")
        assert database.look(ledger)["ledger_unwell"] == 1
        assert database.look(ledger)["ledger_unwell"] == 1
        (told,) = pipeline.alerts(ledger, get_settings())
        assert told.startswith("forgetful (pid ")
        assert pipeline.alerts(ledger, get_settings()) == []
    assert incidents(ledger) == ["ledger_held"]
    assert database.look(ledger)["ledger_oldest_transaction_seconds"] == 0


def test_dead_rows_are_counted(ledger: Ledger) -> None:
    job = make_job(ledger, [0], 500)
    with ledger.transaction() as tx:
        tx.connection.execute("UPDATE blocks SET state = 'CANCELED' WHERE job_id = %s", (job,))
        tx.connection.execute("SELECT pg_stat_force_next_flush()")
    with ledger.transaction() as tx:
        worst = database.observe(tx).worst
    assert worst is not None
    assert worst.name.startswith("blocks_")
    assert worst.dead == 500
    assert worst.all_dead >= 500
