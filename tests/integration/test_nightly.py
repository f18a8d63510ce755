"""What a night picks, against a real ledger and store, without Airflow: what is new, and nothing a second time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from tradu import line, nightly
from tradu.ledger import jobs
from tradu.ledger.cancel import cancel
from tradu.ledger.connection import Ledger, get_ledger
from tradu.ledger.rows import Document
from tradu.settings import get_settings
from tradu.store import Store


@dataclass
class Night:
    """A landing prefix, and the nights that look at it."""

    folder: Path
    ledger: Ledger

    def put(self, *names: str) -> None:
        self.folder.mkdir(exist_ok=True)
        for name in names:
            (self.folder / name).write_text(f"The harbour of {name} was closed.\n")

    def pick(self) -> list[nightly.NightlyRequest]:
        return nightly.pick(get_settings(), self.ledger)

    def begin(self, request: nightly.NightlyRequest) -> UUID:
        """What the first tasks of its run do."""
        job = line.admit(jobs.JobRequest(request_id="night", **request.conf()), "night").job_id
        line.ingest(str(job))
        return job

    def stop(self, job: UUID) -> None:
        """As if a gate had stopped it."""
        with self.ledger.transaction() as tx:
            tx.run("stop_job", job_id=job, reason="9 of 9 are bad", gate="blocks")

    def archive(self, job: UUID) -> None:
        """As if its rows lay in an archive."""
        with self.ledger.transaction() as tx:
            tx.run("enter_documents", job_id=job)
            tx.connection.execute("SET LOCAL ROLE tradu_archive")
            tx.connection.execute("DELETE FROM decisions WHERE job_id = %s", (job,))
            tx.connection.execute("DELETE FROM documents WHERE job_id = %s", (job,))

    def end(self, job: UUID, state: str = "ERROR") -> None:
        """As if all documents were done."""
        with self.ledger.transaction() as tx:
            for document in tx.rows("documents", Document, job_id=job):
                tx.run("end_document", job_id=job, document_id=document.document_id, state="ERROR", reason="test")
            tx.run("end_job", job_id=job, state=state, reason="test")


@pytest.fixture
def night(ledger_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Night]:
    monkeypatch.setenv("TRADU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRADU_LEDGER_URL", ledger_database)
    monkeypatch.setenv("TRADU_LANDING_URL", (tmp_path / "landing").as_uri())
    Store(get_settings().store).create()
    yield Night(tmp_path / "landing", get_ledger("test"))
    get_ledger("test").close()
    get_ledger("task").close()


def test_a_job_that_somebody_cancels_makes_no_later_night_red(night: Night) -> None:
    night.put("a.txt")
    (request,) = night.pick()
    cancel(night.ledger, jobs.find(night.begin(request), night.ledger))
    (told,) = nightly.report([request.conf()], night.ledger)
    assert told["state"] == "CANCELED"
    assert night.pick() == []


def test_what_a_person_has_dropped_is_left_until_it_changes(night: Night) -> None:
    night.put("a.txt")
    (request,) = night.pick()
    job = night.begin(request)
    night.stop(job)
    assert night.pick() == [], "a person has yet to decide"
    assert line.decide(str(job), "blocks", "drop", "Ada") is None
    assert night.pick() == []
    night.archive(job)
    assert night.pick() == []
    (night.folder / "a.txt").write_text("The harbour is open again.\n")
    (changed,) = night.pick()
    assert changed.key != request.key


def test_a_job_that_failed_is_taken_up_again_also_one_that_was_dropped_before(night: Night) -> None:
    night.put("a.txt")
    (request,) = night.pick()
    job = night.begin(request)
    assert line.fail(job, "the store was away", night.ledger)
    assert night.pick() == [request]
    assert night.begin(request) == job
    night.stop(job)
    line.decide(str(job), "blocks", "drop", "Ada")
    assert night.begin(request) == job, "somebody asks for it after all"
    assert jobs.find(job, night.ledger).dropped_at is None
    assert line.fail(job, "the store was away", night.ledger)
    assert night.pick() == [request]


def test_jobs_that_were_dropped_before_the_ledger_knew_it_are_left_too(night: Night) -> None:
    night.put("a.txt")
    (request,) = night.pick()
    job = night.begin(request)
    night.stop(job)
    line.decide(str(job), "blocks", "drop", "Ada")
    migration = next((get_settings().include / "migrations/sql").glob("*_dropped_jobs.sql")).read_text()
    with night.ledger.transaction() as tx:
        tx.connection.execute("UPDATE jobs SET dropped_at = NULL")
        tx.connection.execute(migration[migration.index("UPDATE jobs") :].encode())
    assert jobs.find(job, night.ledger).dropped_at is not None
    assert night.pick() == []


def test_what_was_replaced_before_its_job_was_cut_is_new_when_it_is_back(night: Night) -> None:
    night.put("a.txt")
    (first,) = night.pick()
    job = night.begin(first)
    night.stop(job)
    (night.folder / "a.txt").write_text("The harbour is open again.\n")
    assert night.begin(first) == job, "a retry takes in what is there now"
    night.end(job, "PARTIAL")
    assert night.pick() == []
    night.put("a.txt")
    (back,) = night.pick()
    night.archive(job)
    assert night.pick() == [back]
    assert night.begin(back) != job
    assert night.pick() == [back], "under the same key until it is done"
    night.end(night.begin(back), "PARTIAL")
    assert night.pick() == []


def test_a_landing_prefix_may_hold_more_than_a_job(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_MAX_DOCUMENTS", "2")
    night.put(*(f"{letter}.txt" for letter in "abcde"))
    requests = night.pick()
    assert [len(request.documents) for request in requests] == [2, 2, 1]
    assert night.pick() == requests, "under the same keys"
    for request in requests:
        night.end(night.begin(request))
    night.put("f.txt")
    (request,) = night.pick()
    assert [uri.rpartition("/")[2] for uri in request.documents] == ["f.txt"]
