"""Purge and erasure: afterwards nothing of it can be found anywhere, and a certificate says so without a name."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fixtures.archive import KilledError, Shelf, kill_after
from tradu import verify
from tradu.archival import archive, catalogue, erase, purge, run
from tradu.archival.context import held
from tradu.archival.policy import Act, Due, Residence, load_policy
from tradu.errors import RequestError
from tradu.ledger import jobs
from tradu.settings import get_settings
from tradu.store import Store, Writing

SECRET = "Quentin"
FILES = {
    "secret-letter.txt": f"{SECRET} wrote that the harbour was closed. {SECRET} is ill.\n",
    "other.txt": "The library opens at nine. It closes at five.\n",
}


def document_of(shelf: Shelf, job: UUID, name: str = "secret-letter.txt") -> str:
    return next(row[1] for row in shelf.rows(job)["documents"] if row[2] == [name])


def archived(job: UUID, tier: Residence = Residence.WARM) -> None:
    done = run.Done()
    run.carry_out(Due(job, Act.ARCHIVE, tier, 0), load_policy(get_settings()), "test", done)
    assert done.jobs == {"archive": 1}


def erase_document(shelf: Shelf, document: str) -> dict[str, int]:
    settings = get_settings()
    return erase.erase_document(shelf.ledger, document, load_policy(settings), settings, "test")


def contents(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The bytes of an object, and of all that is packed in it."""
    yield name, data
    if data[:4] == b"PAR1":
        table = pq.read_table(io.BytesIO(data))
        yield name, str(table.to_pydict()).encode()
        if table.schema.names == ["key", "piece", "bytes"]:
            for key, piece in zip(table["key"].to_pylist(), table["bytes"].to_pylist(), strict=True):
                yield from contents(f"{name}:{key}", piece)
    elif name.endswith(".arrow"):
        yield name, str(pa.ipc.open_stream(io.BytesIO(data)).read_all().to_pydict()).encode()


def traces(shelf: Shelf, *words: str) -> list[str]:
    """Where one of these words stands: in the store, the landing prefix or a table of the ledger."""
    found = []
    for root in (Path(shelf.store.root), shelf.folder / "landing"):
        for file in (f for f in root.rglob("*") if f.is_file()):
            for name, data in contents(str(file), file.read_bytes()):
                found += [f"{name}: {word}" for word in words if word.encode() in data or word in str(file)]
    with psycopg.connect(shelf.dsn) as connection:
        tables = connection.execute("SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 2200")
        for (table,) in tables.fetchall():
            for (row,) in connection.execute(f"SELECT t::text FROM {table} t").fetchall():
                found += [f"{table}: {word}" for word in words if word in row]
    return found


def certificates(shelf: Shelf) -> list[tuple[str, str, str]]:
    with psycopg.connect(shelf.dsn) as connection:
        return connection.execute("SELECT kind, subject_sha256, by FROM erasures ORDER BY erasure_id").fetchall()


@pytest.mark.parametrize("where", ["hot", "warm", "both"])
def test_an_erased_document_is_nowhere(shelf: Shelf, where: str) -> None:
    job = shelf.make(FILES)
    document = document_of(shelf, job)
    if where != "hot":
        archived(job)
    if where == "both":
        shelf.make({"again.txt": FILES["secret-letter.txt"]}, "second")
    assert traces(shelf, SECRET)
    counts = erase_document(shelf, document)
    assert counts["jobs"] == (2 if where == "both" else 1)
    assert traces(shelf, SECRET, "secret-letter", document) == []
    assert certificates(shelf) == [("document", hashlib.sha256(document.encode()).hexdigest(), "test")]
    if where != "hot":
        assert jobs.find(job, shelf.ledger).residence == "warm"
        run.restore_job(job, load_policy(get_settings()))
    assert verify.verify(jobs.find(job, shelf.ledger), shelf.ledger, shelf.store).faults == []
    assert [row[2] for row in shelf.rows(job)["documents"]] == [["other.txt"]]
    assert b"biblioteca" in shelf.store.get(f"output/{job}/pt/other.txt")


def test_a_tenant_is_erased_and_others_keep_what_they_share(shelf: Shelf) -> None:
    limits = "tenants: {acme: {characters_per_minute: 1_000_000_000}}\n"
    (shelf.folder / "admission.yaml").write_text(limits)
    theirs = [shelf.make(FILES, "one", "acme"), shelf.make({"b.txt": FILES["other.txt"]}, "two", "acme")]
    other = shelf.make({"b.txt": FILES["other.txt"]}, "three", "umbra")
    archived(theirs[0])
    assert "claim_buckets: acme" in traces(shelf, "acme")
    counts = erase.erase_tenant(shelf.ledger, "acme", "test")
    assert counts["jobs"] == 2
    for job in theirs:
        assert shelf.hot(job).keys() <= shelf.hot(other).keys()
        assert {t for t, rows in shelf.rows(job).items() if rows} == {"jobs"}
    assert [f for f in traces(shelf, SECRET, "acme") if "landing" not in f] == []
    assert verify.verify(jobs.find(other, shelf.ledger), shelf.ledger, shelf.store).faults == []
    assert [kind for kind, *_ in certificates(shelf)] == ["job", "job", "tenant"]
    assert erase.erase_tenant(shelf.ledger, "acme", "test") == {}


def test_jobs_that_come_meanwhile_go_too_or_there_is_no_certificate(shelf: Shelf) -> None:
    document = document_of(shelf, shelf.make(FILES, "0", "acme"))
    came = ["0"]

    def comes(at: str, *, deliver: bool = True) -> Callable[[str], None]:
        key = str(len(came))

        def meanwhile(step: str) -> None:
            if step == at and key not in came:
                came.append(key)
                shelf.make({"secret-letter.txt": FILES["secret-letter.txt"]}, key, "acme", deliver=deliver)

        return meanwhile

    policy, settings = load_policy(get_settings()), get_settings()
    counts = erase.erase_document(shelf.ledger, document, policy, settings, "test", comes("clear"))
    assert (counts["jobs"], traces(shelf, SECRET, document)) == (2, [])
    assert erase.erase_tenant(shelf.ledger, "acme", "test", comes("purge"))["jobs"] == 3
    assert shelf.everything() == {}
    shelf.make({"b.txt": FILES["other.txt"]}, "last", "acme")
    before = certificates(shelf)
    with pytest.raises(RequestError, match="are open"):
        erase.erase_tenant(shelf.ledger, "acme", "test", comes("purge", deliver=False))
    assert [kind for kind, *_ in certificates(shelf)[len(before) :]] == ["job"]


def test_a_hold_stops_it_before_anything_is_gone(shelf: Shelf) -> None:
    job, kept = shelf.make(FILES, "one", "acme"), shelf.make(FILES, "two", "acme")
    catalogue.hold(shelf.ledger, kept, True, "a judge")
    hot = shelf.hot(job)
    with pytest.raises(RequestError, match=str(kept)):
        erase.erase_tenant(shelf.ledger, "acme", "test")
    with pytest.raises(RequestError, match=str(kept)):
        erase_document(shelf, document_of(shelf, job))
    with pytest.raises(RequestError, match="legal hold"), held(kept) as ours:
        purge.purge_job(ours, "job", "test")
    assert shelf.hot(job) == hot
    assert certificates(shelf) == []


def erased(shelf: Shelf, job: UUID, document: str) -> None:
    """Nothing of the document is left, a certificate says so once, and all else is as it was."""
    assert traces(shelf, SECRET, "secret-letter", document) == []
    assert certificates(shelf) == [("document", hashlib.sha256(document.encode()).hexdigest(), "test")]
    if jobs.find(job, shelf.ledger).residence != "hot":
        run.restore_job(job, load_policy(get_settings()))
    assert verify.verify(jobs.find(job, shelf.ledger), shelf.ledger, shelf.store).faults == []
    assert [row[2] for row in shelf.rows(job)["documents"]] == [["other.txt"]]
    assert b"biblioteca" in shelf.store.get(f"output/{job}/pt/other.txt")
    archived(job)


@pytest.mark.parametrize("step", erase.STEPS)
def test_an_erasure_that_is_killed_is_finished_by_asking_again(shelf: Shelf, step: str) -> None:
    job = shelf.make(FILES)
    document, settings = document_of(shelf, job), get_settings()
    archived(job)
    with pytest.raises(KilledError):
        erase.erase_document(shelf.ledger, document, load_policy(settings), settings, "test", kill_after(step))
    assert certificates(shelf) == []
    known = {row[0] for row in shelf.rows(job)["known_segments"]}
    if step in erase.STEPS[1:4]:  # what is known of an object is forgotten before it is written anew
        assert not known
    erase_document(shelf, document)
    assert erase_document(shelf, document) == {}
    erased(shelf, job, document)


def test_an_erasure_that_is_killed_before_any_object_appears(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at the first object that it writes, then at the second one of what is left, and so on."""
    job = shelf.make(FILES)
    document, settings, appeared, kills = document_of(shelf, job), get_settings(), 0, 0
    writing = Store.writing

    @contextmanager
    def until(store: Store, key: str) -> Iterator[Writing]:
        nonlocal appeared
        with writing(store, key) as stream:
            yield stream
            appeared += not key.startswith("ledger/")
            if appeared > kills:
                raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Store, "writing", until)
        while True:
            appeared = 0
            try:
                erase.erase_document(shelf.ledger, document, load_policy(settings), settings, "test")
                break
            except KilledError:
                kills += 1
    assert kills >= 2
    erased(shelf, job, document)


KILL = """
import os, sys
from tradu.archival import erase
from tradu.archival.policy import load_policy
from tradu.ledger.connection import get_ledger
from tradu.settings import get_settings

what, of, at = sys.argv[1:]
done = lambda step: os._exit(9) if step == at else None
settings, ledger = get_settings(), get_ledger("task")
if what == "tenant":
    erase.erase_tenant(ledger, of, "test", done)
else:
    erase.erase_document(ledger, of, load_policy(settings), settings, "test", done)
"""


def dies(*words: str) -> None:
    assert subprocess.run([sys.executable, "-c", KILL, *words], check=False).returncode == 9


@pytest.mark.parametrize("step", ["rewrite", "clear"])
def test_a_process_that_dies_while_it_erases_a_document(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setenv("TRADU_LEASE_SECONDS", "1")
    job = shelf.make(FILES)
    document = document_of(shelf, job)
    dies("document", document, step)
    erase_document(shelf, document)
    erased(shelf, job, document)


@pytest.mark.parametrize("step", ["condemn", "remove", "certify", "purge"])
def test_a_process_that_dies_while_it_erases_a_tenant(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.setenv("TRADU_LEASE_SECONDS", "1")
    one, two = shelf.make(FILES, "one", "acme"), shelf.make({"b.txt": FILES["other.txt"]}, "two", "acme")
    archived(one)
    document = document_of(shelf, two, "b.txt")
    dies("tenant", "acme", step)
    if step != "purge":  # a document of a job that is half purged can be erased too
        assert erase_document(shelf, document)["jobs"] == 2
    erase.erase_tenant(shelf.ledger, "acme", "test")
    assert shelf.everything() == shelf.everything("cold") == {}
    for job in (one, two):
        assert {t for t, rows in shelf.rows(job).items() if rows} <= {"jobs", "incidents"}
    kinds = [kind for kind, *_ in certificates(shelf)]
    assert (kinds.count("job"), kinds.count("tenant")) == (2, 1)


def test_an_archive_that_a_restored_job_still_has_goes_too(shelf: Shelf) -> None:
    job = shelf.make(FILES)
    document = document_of(shelf, job)
    archived(job)
    run.restore_job(job, load_policy(get_settings()))
    erase_document(shelf, document)
    erased(shelf, job, document)


def test_results_that_came_too_late_go_too(shelf: Shelf) -> None:
    job = shelf.make(FILES)
    document = document_of(shelf, job)
    (result, *_) = [key for key in shelf.hot(job) if key.startswith("results/") and key.endswith(".parquet")]
    shelf.store.put(result.replace(".parquet", "1.parquet"), shelf.store.get(result))
    erase_document(shelf, document)
    erased(shelf, job, document)


def landing(shelf: Shelf) -> set[str]:
    root = shelf.folder / "landing"
    return {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()}


def test_every_file_of_an_erased_document_goes_and_no_other(shelf: Shelf) -> None:
    """The request names files one by one, as the nightly run does."""
    letter = FILES["secret-letter.txt"]
    job = shelf.make({**FILES, "copies/secret-letter.txt": letter})
    shelf.make({"other.txt": FILES["other.txt"]}, "second")
    root, names = get_settings().landing, ("secret-letter.txt", "copies/secret-letter.txt", "other.txt")
    with psycopg.connect(shelf.dsn) as connection:
        asked = [f"{root}/./key/{name}" for name in names]
        connection.execute("UPDATE jobs SET documents = %s WHERE job_id = %s", (asked, job))
    document = next(row[1] for row in shelf.rows(job)["documents"] if len(row[2]) == 2)
    assert erase_document(shelf, document)["origins"] == 2
    assert landing(shelf) == {"key/other.txt", "second/other.txt"}
    assert jobs.find(job, shelf.ledger).documents == [f"{root}/./key/other.txt"]
    assert traces(shelf, SECRET, "secret-letter", document) == []


@pytest.mark.parametrize("where", ["hot", "warm"])
def test_what_is_purged_is_not_new_the_next_night(shelf: Shelf, where: str) -> None:
    job, other = shelf.make(FILES), shelf.make({"b.txt": FILES["other.txt"]}, "second")
    if where == "warm":
        archived(job)
    with held(job) as ours:
        purge.purge_job(ours, "retention", "test")
    assert landing(shelf) == {"key/other.txt", "second/b.txt"}, "another job has it"
    with held(other) as ours:
        purge.purge_job(ours, "job", "test")
    assert landing(shelf) == {"key/other.txt"}, "a file that the request did not name"


def test_a_purge_finds_what_an_archive_has_left_uncleared(shelf: Shelf) -> None:
    job = shelf.make(FILES)
    with pytest.raises(KilledError), held(job) as ours:
        archive.archive(ours, Residence.WARM, load_policy(get_settings()), "test", kill_after("forget"))
    with held(job) as ours:
        purge.purge_job(ours, "job", "test")
    assert shelf.everything() == shelf.everything("cold") == {}


@pytest.mark.parametrize("where", ["hot", "warm"])
def test_a_purge_that_is_killed_is_finished_by_the_next_run(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def killed(*_: object) -> None:
        raise KilledError

    job = shelf.make(FILES)
    if where == "warm":
        archived(job)
    with monkeypatch.context() as patch:
        patch.setattr(purge, "certify", killed)
        with pytest.raises(KilledError), held(job) as ours:
            purge.purge_job(ours, "job", "test")
    assert certificates(shelf) == []
    with pytest.raises(RequestError, match="purged"):
        catalogue.hold(shelf.ledger, job, True, "too late")
    assert run.run_now(run.PURGING, "test").jobs == {"purge": 1}
    assert {t for t, rows in shelf.rows(job).items() if rows} == {"jobs"}
    assert [f for f in traces(shelf, SECRET, "secret-letter") if "landing" not in f] == []
    assert len(certificates(shelf)) == 1
    assert run.run_now(run.PURGING, "test").jobs == {}


def test_jobs_that_are_purged_at_once_leave_no_document_behind(shelf: Shelf) -> None:
    """Each finds a row of the other's that names it, until both rows are gone."""
    one, two = shelf.make(FILES, "one"), shelf.make(FILES, "two")

    def meanwhile(step: str) -> None:
        if step == "remove":
            with held(two) as theirs:
                purge.purge_job(theirs, "job", "test")

    with held(one) as ours:
        purge.purge_job(ours, "job", "test", meanwhile)
    assert shelf.everything() == {}


def test_nobody_changes_a_certificate(shelf: Shelf) -> None:
    job = shelf.make(FILES)
    with held(job) as ours:
        purge.purge_job(ours, "job", "test")
    with pytest.raises(psycopg.Error, match="append-only"), psycopg.connect(shelf.dsn) as connection:
        connection.execute("UPDATE erasures SET by = 'x'")
