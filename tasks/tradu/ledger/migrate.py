"""Brings the ledger's schema up to date: plain SQL files run by Alembic, then the data that Python owns."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg.sql import SQL, Identifier
from sqlalchemy import create_engine, text

from tradu.ledger import dump, partitions, states
from tradu.settings import get_settings


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(get_settings().include / "migrations"))
    return config


def _sqlalchemy_url(dsn: str) -> str:
    return "postgresql+psycopg://" + dsn.split("://", 1)[1]


def is_current(dsn: str) -> bool:
    """Whether the schema is at the newest migration."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
            return False
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return row is not None and row[0] == ScriptDirectory.from_config(_config()).get_current_head()


def migrate(dsn: str) -> None:
    """Run what is missing of the migrations; safe to call by several processes at once.

    Raises:
        sqlalchemy.exc.OperationalError: the server can't be reached.
    """
    engine = create_engine(_sqlalchemy_url(dsn))
    config = _config()
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('tradu.migrate'))"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            _write_transitions(connection.connection.driver_connection)  # type: ignore[arg-type]
    finally:
        engine.dispose()


_GRANTS = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tradu_archive') THEN
        GRANT SELECT, INSERT, DELETE ON {tables} TO tradu_archive;
        GRANT UPDATE ON jobs, objects, stage_leases TO tradu_archive;
        GRANT SELECT, INSERT, UPDATE, DELETE ON archives, archived_documents TO tradu_archive;
        GRANT SELECT, INSERT ON erasures TO tradu_archive;
        GRANT SELECT, DELETE ON claim_buckets TO tradu_archive;
        GRANT SELECT, USAGE, UPDATE ON ALL SEQUENCES IN SCHEMA public TO tradu_archive;
    END IF;
END $$
"""


def _write_transitions(connection: psycopg.Connection) -> None:
    """Make the database's table of legal transitions equal to Python's, and partitions for the coming months."""
    connection.execute("DELETE FROM transitions")
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO transitions VALUES (%s, %s, %s)", states.rows())
    connection.execute(SQL(_GRANTS).format(tables=SQL(", ").join(map(Identifier, dump.TABLES))))
    months = [month.first for month in partitions.ahead(datetime.now(UTC))]
    connection.execute("SELECT ensure_partitions(m) FROM unnest(%s::timestamptz[]) AS m", (months,))


if __name__ == "__main__":
    migrate(get_settings().ledger_dsn)
