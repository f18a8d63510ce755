"""The embedded PostgreSQL: what the fixture gives, and what a stack's server is like."""

from __future__ import annotations

import psycopg

from fixtures.postgres import TestServer


def test_each_test_gets_an_empty_database(empty_database: str, postgres_server: TestServer) -> None:
    with psycopg.connect(empty_database) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    copy = postgres_server.create(template=empty_database.rsplit("/", 1)[-1])
    with psycopg.connect(copy) as connection:
        assert connection.execute("SELECT x FROM t").fetchone() == (1,)
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
    postgres_server.drop(copy)
