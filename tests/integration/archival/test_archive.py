"""Archive and restore on a real ledger and store: nothing stays in hot, all comes back, whatever was killed."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from fixtures.archive import KilledError, Shelf, kill_after
from tradu import layout, verify
from tradu.archival import archive, catalogue, pack, restore
from tradu.archival.context import held, no_step
from tradu.archival.policy import Act, Due, Residence, load_policy
from tradu.archival.run import Done, carry_out, run_now
from tradu.errors import DamagedError, RequestError, TransientError
from tradu.ledger import decisions, jobs
from tradu.settings import get_settings
from tradu.store import StoredObject

FILES = {
    "a.txt": "The harbour was closed because of the storm. Nobody knew for how long.\n",
    "more/b.md": "# Hours\n\nThe library opens at nine.\n\n- It closes at five.\n",
}


def do_archive(job: UUID, done: Callable[[str], None] = no_step) -> None:
    policy = load_policy(get_settings())
    with held(job) as ours:
        archive.archive(ours, Residence.WARM, policy, "test", done)


def do_restore(job: UUID, done: Callable[[str], None] = no_step) -> None:
    with held(job) as ours:
        restore.restore(ours, load_policy(get_settings()), done)


def run_all(shelf: Shelf) -> Done:
    return run_now(frozenset(Act), "test")


def test_a_job_comes_back_bit_for_bit(shelf: Shelf) -> None:
    job = shelf.make(FILES)
    rows, hot = shelf.rows(job), shelf.hot(job)
    assert rows["known_segments"]
    assert {len(rows[t]) > 0 for t in ("blocks", "history", "objects", "outputs", "documents")} == {True}
    do_archive(job)
    assert shelf.hot(job) == {}
    assert {t for t, found in shelf.rows(job).items() if found} == {"jobs"}
    do_restore(job)
    assert shelf.rows(job) == rows
    assert shelf.hot(job) == hot
    found = verify.verify(jobs.find(job, shelf.ledger), shelf.ledger, shelf.store)
    assert found.faults == []
    assert found.blocks == len(rows["blocks"])


@pytest.mark.parametrize("step", archive.STEPS)
def test_whatever_is_killed_the_next_run_finishes(shelf: Shelf, step: str) -> None:
    job = shelf.make(FILES)
    rows, hot = shelf.rows(job), shelf.hot(job)
    shelf.age(job, 100)
    aged = shelf.rows(job)["jobs"]
    with pytest.raises(KilledError):
        do_archive(job, kill_after(step))
    done = run_all(shelf)
    assert done.jobs == ({} if step == "clear" else {"archive": 1})
    assert shelf.hot(job) == {}
    assert {t for t, found in shelf.rows(job).items() if found} == {"jobs"}
    assert run_all(shelf).jobs == {}
    do_restore(job)
    assert shelf.rows(job) == {**rows, "jobs": aged}
    assert shelf.hot(job) == hot


def test_killed_before_any_object_appears(shelf: Shelf) -> None:
    """At each object that is written: packs, manifest, and at the restore everything that comes back."""
    job = shelf.make(FILES)
    rows, hot = shelf.rows(job), shelf.hot(job)
    for work in (do_archive, do_restore):
        kills = 0
        while True:
            left = kills

            def guard() -> None:
                nonlocal left
                if left == 0:
                    raise KilledError
                left -= 1

            with held(job) as ours:
                ours.store._guard = guard
                try:
                    if work is do_archive:
                        archive.archive(ours, Residence.WARM, load_policy(get_settings()), "test")
                    else:
                        restore.restore(ours, load_policy(get_settings()))
                    break
                except KilledError:
                    kills += 1
        assert kills >= 2
    assert (shelf.rows(job), shelf.hot(job)) == (rows, hot)


@pytest.mark.parametrize("step", restore.STEPS)
def test_a_restore_that_is_killed_is_finished_or_taken_back(shelf: Shelf, step: str) -> None:
    job = shelf.make(FILES)
    rows, hot = shelf.rows(job), shelf.hot(job)
    do_archive(job)
    with pytest.raises(KilledError):
        do_restore(job, kill_after(step))
    if step != "revive":  # a run of the archive clears away what came back
        assert run_all(shelf).jobs == {"archive": 1}
        assert shelf.hot(job) == {}
    do_restore(job)
    assert (shelf.rows(job), shelf.hot(job)) == (rows, hot)


def test_a_damaged_object_keeps_its_job_hot(shelf: Shelf) -> None:
    job = shelf.make(FILES)
    shelf.age(job, 100)
    (result, *_) = [key for key in shelf.hot(job) if key.startswith("results/")]
    path = Path(shelf.store.path(result))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    hot = shelf.hot(job)
    assert run_all(shelf).jobs == {"left": 1}
    assert shelf.hot(job) == hot
    assert [i[2] for i in shelf.rows(job)["incidents"]] == ["not_archived"]
    path.unlink()
    assert run_all(shelf).jobs == {"left": 1}


def test_a_damaged_archive_is_not_restored_and_its_job_is_not_lost(shelf: Shelf) -> None:
    job = shelf.make(FILES)
    do_archive(job)
    pack = Path(shelf.store.path(layout.pack_key(job, 0)))
    whole = pack.read_bytes()
    pack.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    with pytest.raises(DamagedError):
        do_restore(job)
    pack.write_bytes(whole)
    do_restore(job)
    assert verify.verify(jobs.find(job, shelf.ledger), shelf.ledger, shelf.store).faults == []


def test_what_is_shared_goes_with_the_last_job(shelf: Shelf) -> None:
    one, two = shelf.make(FILES, "one"), shelf.make({"a.txt": FILES["a.txt"]}, "two")
    raw = {key for key in shelf.hot(two) if key.startswith("raw/")}
    do_archive(one)
    assert {key for key in shelf.hot(one) if key.startswith("raw/")} < raw
    assert verify.verify(jobs.find(two, shelf.ledger), shelf.ledger, shelf.store).faults == []
    do_archive(two)
    assert shelf.hot(two) == {}
    do_restore(one)
    assert {key for key in shelf.hot(one) if key.startswith("raw/")} == raw


def test_open_and_held_jobs_stay(shelf: Shelf) -> None:
    opened, kept = shelf.make(FILES, "open", deliver=False), shelf.make(FILES, "kept")
    shelf.age(kept, 1_000)
    catalogue.hold(shelf.ledger, kept, True, "a judge")
    assert run_all(shelf).jobs == {}
    for job in (opened, kept):
        with pytest.raises(RequestError, match=r"legal hold|RUNNING"):
            do_archive(job)
    catalogue.hold(shelf.ledger, kept, False, "a judge")
    assert run_all(shelf).jobs == {"archive": 1}


def test_a_job_that_was_changed_meanwhile_is_hot_again(shelf: Shelf) -> None:
    job = shelf.make(FILES)

    def change(step: str) -> None:
        if step == "verify":
            with shelf.ledger.transaction() as tx:
                tx.run("add_object", job_id=job, object_key="output/late", sha256="0" * 64, size_bytes=1)

    hot = shelf.hot(job)
    with pytest.raises(TransientError, match="changed"):
        do_archive(job, change)
    assert shelf.hot(job) == hot
    assert jobs.find(job, shelf.ledger).residence == "hot"


def test_a_job_whose_rows_say_something_else_by_now_is_hot_again(shelf: Shelf) -> None:
    job = shelf.make(FILES)

    def change(step: str) -> None:
        if step == "settle":
            with psycopg.connect(shelf.dsn) as connection:
                connection.execute("UPDATE documents SET reason = 'a person said so' WHERE job_id = %s", (job,))

    hot = shelf.hot(job)
    with pytest.raises(TransientError, match="changed while it was archived: documents"):
        do_archive(job, change)
    assert (shelf.hot(job), jobs.find(job, shelf.ledger).residence) == (hot, "hot")
    do_archive(job)
    do_restore(job)
    assert {row[12] for row in shelf.rows(job)["documents"]} == {"a person said so"}


def test_rows_of_a_killed_restore_that_were_changed_bring_their_objects_back(shelf: Shelf) -> None:
    job = shelf.make(FILES)
    hot = shelf.hot(job)
    do_archive(job)
    with pytest.raises(KilledError):
        do_restore(job, kill_after("load"))
    with psycopg.connect(shelf.dsn) as connection:
        connection.execute("UPDATE documents SET reason = 'x' WHERE job_id = %s", (job,))
    with pytest.raises(TransientError, match="changed"):
        run_all(shelf)
    assert (shelf.hot(job), jobs.find(job, shelf.ledger).residence) == (hot, "hot")


def test_what_is_no_part_of_the_archive_is_not_restored(shelf: Shelf) -> None:
    """A manifest that is not the one of the catalogue, packs with more or less than it says, objects of others."""
    job, other = shelf.make(FILES), shelf.make({"b.txt": "It closes at five.\n"}, "other")
    do_archive(job)
    key = layout.archive_key(job)
    manifest, whole = catalogue.manifest_of(shelf.store, job), shelf.store.get(key)
    shelf.store.put(key, whole + b"\n")
    with pytest.raises(DamagedError, match="not the manifest that the ledger names"):
        do_restore(job)
    with held(job) as ours:
        for members, said in (
            (manifest.members[:-1], "not in its manifest"),
            ([*manifest.members, StoredObject("blocks/x", "0" * 64, 1)], "is not in the archive"),
        ):
            with pytest.raises(DamagedError, match=said):
                restore.unpack(ours, replace(manifest, members=members))
        hot = shelf.hot(other)
        for strange in (f"output/{other}/pt/b.txt", layout.raw_key("0" * 64), "ledgers/mark.json"):
            packed = pack.write(shelf.store, other, [(strange, closing(io.BytesIO(b"x")))])
            with pytest.raises(DamagedError, match="no object of that job"):
                restore.unpack(ours, replace(manifest, files=packed.files, members=packed.members))
    assert shelf.hot(other) == hot
    shelf.store.put(key, whole)
    do_restore(job)


def test_what_was_restored_is_not_taken_for_what_was_due(shelf: Shelf) -> None:
    """Between the plan of a run and its turn, a person has restored the job."""
    job, done, policy = shelf.make(FILES), Done(), load_policy(get_settings())
    for act, tier in ((Act.COOL, Residence.COLD), (Act.PURGE, Residence.PURGED)):
        carry_out(Due(job, act, tier, 0), policy, "test", done)
    assert (done.jobs, jobs.find(job, shelf.ledger).residence) == ({"left": 2}, "hot")


def test_the_line_leaves_archived_jobs_alone(shelf: Shelf) -> None:
    job = shelf.make(FILES)
    with psycopg.connect(shelf.dsn) as connection:
        connection.execute("UPDATE jobs SET state = 'RUNNING' WHERE job_id = %s", (job,))
        connection.execute("UPDATE jobs SET state = 'PARTIAL' WHERE job_id = %s", (job,))
    documents = [row[1] for row in shelf.rows(job)["documents"]]
    do_archive(job)
    with pytest.raises(RequestError, match=f"tradu archive restore {job}"):
        shelf.make(FILES)
    with pytest.raises(RequestError, match=f"tradu archive restore {job}"):
        decisions.retry(shelf.ledger, jobs.find(job, shelf.ledger), [], "test", None)
    asked = {"tenant": "default", "profile": "balanced", "source": "en", "targets": ["pt"]}
    with shelf.ledger.transaction() as tx:  # what is archived is not new again for the nightly run
        settled = {d for (d,) in tx.tuples("settled_documents", document_ids=documents, **asked)}
    assert settled == set(documents)


KILL = """
import os, sys
from uuid import UUID
from tradu.archival import archive, restore
from tradu.archival.context import held
from tradu.archival.policy import Residence, load_policy
from tradu.settings import get_settings

what, job, at = sys.argv[1:]
done = lambda step: os._exit(9) if step == at else None
with held(UUID(job)) as ours:
    if what == "archive":
        archive.archive(ours, Residence.WARM, load_policy(get_settings()), "test", done)
    else:
        restore.restore(ours, load_policy(get_settings()), done)
"""


@pytest.mark.parametrize(("what", "step"), [("archive", "catalogue"), ("archive", "forget"), ("restore", "unpack")])
def test_a_process_that_dies(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, what: str, step: str) -> None:
    monkeypatch.setenv("TRADU_LEASE_SECONDS", "1")
    job = shelf.make(FILES)
    rows, hot = shelf.rows(job), shelf.hot(job)
    if what == "restore":
        do_archive(job)
    died = subprocess.run([sys.executable, "-c", KILL, what, str(job), step], check=False)
    assert died.returncode == 9
    if what == "archive":
        do_archive(job)
        assert shelf.hot(job) == {}
    do_restore(job)
    assert (shelf.rows(job), shelf.hot(job)) == (rows, hot)
