"""A ledger restored to an older state: it is noticed, nothing is claimed; once accepted nothing is delivered twice."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from fixtures.line import Line
from fixtures.postgres import TestServer, prepared, started
from tradu import layout, line
from tradu.cluster import batch
from tradu.errors import LedgerRewoundError, StoreError
from tradu.ledger import rewind
from tradu.ledger.connection import Ledger
from tradu.ledger.migrate import migrate
from tradu.ledger.rows import Incident
from tradu.stack import postgres
from tradu.store import Store

TEXT = "\n\n".join(f"Ship number {n} reached the harbour in the evening." for n in range(60))


@pytest.fixture(autouse=True)
def always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewind, "WATCH_SECONDS", 0.0)


@pytest.fixture
def back_up(the_line: Line, postgres_server: TestServer) -> Callable[[], Callable[[], None]]:
    """Takes a copy of the ledger; what it returns restores it."""
    name = the_line.ledger.dsn.rsplit("/", 1)[-1]

    def disconnect() -> None:
        with psycopg.connect(postgres_server.admin, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

    def take() -> Callable[[], None]:
        disconnect()
        postgres_server.create(template=name, name=f"{name}_old")

        def restore() -> None:
            disconnect()
            postgres_server.drop(name)
            postgres_server.create(template=f"{name}_old", name=name)
            postgres_server.drop(f"{name}_old")

        return restore

    return take


def digests(the_line: Line, job: str) -> dict[str, tuple[str, int]]:
    """SHA-256 and time of writing of everything delivered."""
    folder = Path(the_line.store.root) / "output" / job
    files = [f for f in folder.rglob("*") if f.is_file() and "provenance" not in f.parts]
    return {str(f): (hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mtime_ns) for f in files}


def test_a_restored_ledger_is_noticed_and_delivers_nothing_twice(
    the_line: Line, back_up: Callable[[], Callable[[], None]]
) -> None:
    the_line.put({"a.txt": TEXT})
    job = the_line.admit(source="en")
    shards = the_line.prepare(job)
    restore = back_up()
    the_line.infer(job, shards)
    assert the_line.deliver(job) == "COMPLETED"
    before = digests(the_line, job)
    assert any(path.endswith("a.txt") for path in before)

    restore()
    assert the_line.job(job).state == "RUNNING", "the ledger has forgotten the delivery"
    for attempt in (lambda: batch.run_batch(job, 0), lambda: line.publish(job), lambda: line.gate_translations(job)):
        with pytest.raises(LedgerRewoundError, match="older than the store"):
            attempt()
    assert {b.state for b in the_line.blocks(job)} == {"PENDING"}

    rewind.accept(the_line.ledger, the_line.store, "test")
    for number in sorted({b.batch for b in the_line.blocks(job) if b.batch is not None}):
        batch.run_batch(job, number)
    assert the_line.deliver(job) == "COMPLETED"
    report = str(Path(the_line.store.root) / layout.report_key(UUID(job)))
    after = digests(the_line, job)
    assert {k: v for k, v in after.items() if k != report} == {k: v for k, v in before.items() if k != report}
    with the_line.ledger.transaction() as tx:
        kinds = {i.kind for i in tx.rows("incidents", Incident, job_id=None, limit=100)}
    assert {"ledger_rewound", "ledger_renewed", "delivered_before"} <= kinds


def test_tokens_go_on_above_those_that_were_forgotten(
    the_line: Line, back_up: Callable[[], Callable[[], None]]
) -> None:
    the_line.put({"a.txt": TEXT})
    job = the_line.admit(source="en")
    the_line.prepare(job)
    restore = back_up()
    for number in sorted({b.batch for b in the_line.blocks(job) if b.batch is not None}):
        batch.run_batch(job, number)
    highest = max(b.token or 0 for b in the_line.blocks(job))
    rewind.check(the_line.ledger, the_line.store)
    restore()
    rewind.accept(the_line.ledger, the_line.store, "test")
    batch.run_batch(job, 0)
    assert min(b.token or 0 for b in the_line.blocks(job) if b.batch == 0) > highest


def test_another_ledger_is_told_from_the_stores_own(the_line: Line) -> None:
    rewind.check(the_line.ledger, the_line.store)
    with the_line.ledger.transaction() as tx:
        tx.connection.execute("UPDATE ledger_identity SET ledger_id = gen_random_uuid()")
    with pytest.raises(LedgerRewoundError, match="another ledger"):
        rewind.check(the_line.ledger, the_line.store)


def test_an_empty_folder_in_the_place_of_the_store_is_not_taken_for_it(the_line: Line) -> None:
    rewind.check(the_line.ledger, the_line.store)
    store = Path(the_line.store.root)
    store.rename(store.with_name("disk"))
    store.mkdir()  # what an unmounted disk leaves
    with pytest.raises(StoreError, match="away"):
        rewind.check(the_line.ledger, the_line.store)
    assert list(store.iterdir()) == []


def test_a_ledger_that_crashed_is_not_taken_for_one_that_was_restored(tmp_path: Path) -> None:
    store = Store((tmp_path / "store").as_uri())
    store.create()
    durable = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
    with prepared() as server:
        with started(server, durable, end=signal.SIGQUIT):
            postgres.provision(server)
            dsn = server.dsn("tradu", "tradu")
            migrate(dsn)
            ledger = Ledger(dsn, "before")
            rewind.check(ledger, store)
            claiming = psycopg.connect(dsn)
            claiming.execute("SELECT nextval('fencing_tokens') FROM generate_series(1, 200)")
            rewind.check(ledger, store)  # while it has not committed
        claiming.close()
        ledger.close()
        with started(server, durable):
            ledger = Ledger(dsn, "after")
            rewind.check(ledger, store)
            ledger.close()
