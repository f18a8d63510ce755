"""The embedded PostgreSQL: what the fixture gives, and what a stack's server is like."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg

from fixtures.postgres import TestServer
from tradu.stack import account, postgres
from tradu.stack.ports import free_ports


def test_each_test_gets_an_empty_database(empty_database: str, postgres_server: TestServer) -> None:
    with psycopg.connect(empty_database) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    copy = postgres_server.create(template=empty_database.rsplit("/", 1)[-1])
    with psycopg.connect(copy) as connection:
        assert connection.execute("SELECT x FROM t").fetchone() == (1,)
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
    postgres_server.drop(copy)


def test_a_home_that_was_deleted_and_made_anew_gets_a_new_database(tmp_path: Path) -> None:
    home = tmp_path / "home"
    server = postgres.server_for(home, free_ports(1)[0])
    try:
        postgres.prepare(server)
        first = (server.data / "PG_VERSION").stat().st_ino
        postgres.prepare(server)
        assert (server.data / "PG_VERSION").stat().st_ino == first, "the same home keeps its own"
        shutil.rmtree(home / "secrets")
        postgres.prepare(server)
        assert (server.data / "PG_VERSION").stat().st_ino != first
        (aside,) = server.root.glob("data-of-a-deleted-home-*")
        assert (aside / "PG_VERSION").stat().st_ino == first, "nothing is lost"
        (server.root / "home.sha256").unlink()  # as a version left it that wrote none
        second = (server.data / "PG_VERSION").stat().st_ino
        postgres.prepare(server)
        assert (server.data / "PG_VERSION").stat().st_ino == second, "the same home keeps its own"
        (server.root / "home.sha256").unlink()
        shutil.rmtree(home / "secrets")
        postgres.prepare(server)
        assert (server.data / "PG_VERSION").stat().st_ino not in (first, second)
    finally:
        if server.owner:
            account.remove(server.root)
