"""A store that takes longer than the ledger lets a transaction wait, and failures of one job beside others."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from uuid import UUID

import pytest

from fixtures.archive import KilledError, Shelf
from tradu.archival import archive, context, pack, run
from tradu.archival.context import Held
from tradu.archival.manifest import Manifest
from tradu.archival.policy import Act, Due, Residence, load_policy
from tradu.errors import SystemicError
from tradu.ledger import jobs
from tradu.settings import get_settings
from tradu.store import Store

FILES = {f"{n}.txt": f"The harbour was closed for {n} days.\n" for n in range(5)}


def carry_out(job: UUID, act: Act) -> None:
    done = run.Done()
    run.carry_out(Due(job, act, Residence.WARM, 0), load_policy(get_settings()), "test", done, kind="job")
    assert done.jobs == {act: 1}


@pytest.mark.parametrize("act", [Act.ARCHIVE, Act.PURGE])
def test_documents_are_removed_however_long_that_takes(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, act: Act) -> None:
    """Killed on the way, it goes on with the next run; a transaction that removed them all would be ended."""
    job = shelf.make(FILES)
    rows, hot = shelf.rows(job), shelf.hot(job)
    remove, calls = Store.remove_objects, 0

    def slowly(store: Store, keys: Iterable[str]) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KilledError
        time.sleep(0.3)
        remove(store, keys)

    monkeypatch.setattr("tradu.ledger.connection.IDLE_SECONDS", 1)
    monkeypatch.setattr(archive, "CLEARED_AT_ONCE", 1)
    monkeypatch.setattr(Store, "remove_objects", slowly)
    with pytest.raises(KilledError):
        carry_out(job, act)
    assert len(shelf.everything("raw")) == 3
    carry_out(job, act)
    assert shelf.hot(job) == {}
    if act is Act.ARCHIVE:
        assert run.restore_job(job, load_policy(get_settings()))
        assert (shelf.rows(job), shelf.hot(job)) == (rows, hot)


def test_an_archive_comes_back_however_long_it_takes_to_read(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    job = shelf.make(FILES)
    rows, hot = shelf.rows(job), shelf.hot(job)
    carry_out(job, Act.ARCHIVE)
    context.archive_ledger().close()  # from its next connection on it has less patience
    context._archive_ledger.cache_clear()
    read, pauses = pack.read, iter([1.5])

    def slowly(store: Store, files: Iterable[str]) -> Iterator[tuple[str, Iterator[bytes]]]:
        for key, pieces in read(store, files):
            if key.startswith("raw/"):
                time.sleep(next(pauses, 0))
            yield key, pieces

    monkeypatch.setattr("tradu.ledger.connection.IDLE_SECONDS", 1)
    monkeypatch.setattr(pack, "read", slowly)
    assert run.restore_job(job, load_policy(get_settings()))
    assert (shelf.rows(job), shelf.hot(job)) == (rows, hot)


def test_what_goes_wrong_with_one_job_does_not_keep_the_others(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (shelf.make({"a.txt": FILES["0.txt"]}, key) for key in ("one", "two"))
    for job in (first, second):
        shelf.age(job, 100)
    clear = archive.clear

    def fail_for_first(held: Held, manifest: Manifest) -> None:
        if held.job.job_id == first:
            raise SystemicError("this process stood still")
        clear(held, manifest)

    def lies_in() -> list[str]:
        return [jobs.find(job, shelf.ledger).residence for job in (first, second)]

    monkeypatch.setattr(archive, "clear", fail_for_first)
    with monkeypatch.context() as patch:
        patch.setattr(run, "MOST_FAILURES", 1)  # so many one after the other: it is not the jobs
        with pytest.raises(SystemicError, match="stood still"):
            run.run_now(run.ARCHIVING, "test")
        assert lies_in() == ["warm", "hot"]
    with pytest.raises(SystemicError, match="stood still"):
        run.run_now(run.ARCHIVING, "test")
    assert lies_in() == ["warm", "warm"]
    monkeypatch.setattr(archive, "clear", clear)
    assert run.run_now(run.ARCHIVING, "test").jobs == {"archive": 1}
