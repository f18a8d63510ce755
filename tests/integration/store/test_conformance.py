"""What every store must do, on local files and on S3."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pyarrow as pa
import pytest

from tradu import tables
from tradu.errors import DamagedError, RequestError, StaleLeaseError
from tradu.store import CHUNK_BYTES, Store, StoredObject, opened

SEVERAL_PARTS = 12 << 20


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tradu.s3.PART_BYTES", 5 << 20)  # the smallest that S3 takes


@pytest.mark.parametrize("size", [0, 1, 3 * CHUNK_BYTES + 1, SEVERAL_PARTS])
def test_what_was_written_is_read(store: Store, size: int) -> None:
    data = os.urandom(size)
    stored = store.copy_in(io.BytesIO(data), "results/job/a b ü#?.bin")
    assert stored == StoredObject("results/job/a b ü#?.bin", hashlib.sha256(data).hexdigest(), size)
    assert store.size(stored.key) == size
    assert store.get(stored.key) == data
    assert store.problem(stored.key, stored.sha256) is None
    with opened(store.uri_of(stored.key)) as (stream, found):
        assert (found, stream.read()) == (size, data)


def test_an_object_that_is_written_again_is_replaced(store: Store, tmp_path: Path) -> None:
    store.put("output/a", b"first")
    store.put("output/a", b"second, and longer")
    assert store.get("output/a") == b"second, and longer"
    store.copy_out("output/a", tmp_path / "out" / "a")
    assert (tmp_path / "out" / "a").read_bytes() == b"second, and longer"


@pytest.mark.parametrize("size", [5, SEVERAL_PARTS])
@pytest.mark.parametrize("before", [None, b"as it was"])
def test_a_write_that_fails_leaves_what_was_there(store: Store, size: int, before: bytes | None) -> None:
    if before is not None:
        store.put("output/a", before)

    def fail() -> None:
        with store.writing("output/a") as stream:
            stream.write(os.urandom(size))
            raise FileNotFoundError("the source is gone")

    with pytest.raises(FileNotFoundError, match="the source is gone"):
        fail()
    assert (store.get("output/a") if before else store.exists("output/a")) == (before or False)
    assert store.abandon(-60) == 0, "no parts are left"
    assert [key for key, _ in store.keys("output")] == (["output/a"] if before else [])


def test_who_has_lost_the_right_to_write_writes_nothing(store: Store) -> None:
    def guard() -> None:
        raise StaleLeaseError

    with pytest.raises(StaleLeaseError):
        Store(store.uri, guard).put("output/a", b"x")
    assert not store.exists("output/a")


def test_a_missing_object_is_not_an_error_of_the_store(store: Store) -> None:
    store.put("results/job/one", b"1")
    assert not store.exists("results/job") or store.is_local
    assert not store.exists("results/job/on")
    assert not store.exists("results/job/one/two")
    assert store.problem("results/job/two", "0" * 64) == "is missing"
    for ask in (store.get, store.size):
        with pytest.raises(FileNotFoundError):
            ask("results/job/two")
    store.remove("results/job/two")
    assert store.is_there()


def test_damage_is_noticed(store: Store) -> None:
    wrong = store.put("results/a", b"these bytes").sha256
    store.put("results/a", b"those bytes")
    assert "is damaged" in str(store.problem("results/a", wrong))
    with pytest.raises(DamagedError), store.checked("results/a", wrong) as stream:
        stream.read()


def test_objects_are_moved_and_removed(store: Store) -> None:
    for key in ("raw/incoming/x", "gates/job/1/index.html", "gates/job/1/more/a", "gates/job/10/index.html"):
        store.put(key, key.encode())
    store.move("raw/incoming/x", "raw/ab/abc")
    assert store.get("raw/ab/abc") == b"raw/incoming/x"
    assert not store.exists("raw/incoming/x")
    store.remove("gates/job/1")
    store.put("output/a", b"")
    store.put("output/a0/b", b"")
    store.remove_objects(["output/a", "output/not-there"])
    assert [key for key, _ in store.keys("output")] == ["output/a0/b"]
    assert sorted(key for key, _ in store.keys("gates")) == ["gates/job/10/index.html"]
    assert sorted(key for key, _ in store.keys("nothing")) == []
    assert all(-60 < age < 60 for _, age in store.keys("raw"))


@pytest.mark.parametrize("key", ["../a", "a/../b", "/etc/passwd", "a//b", "a\\b", "a\0b", ""])
def test_keys_do_not_lead_out_of_the_store(store: Store, key: str) -> None:
    for act in (store.get, store.exists, store.remove, lambda k: store.remove_objects([k]), store.uri_of):
        with pytest.raises(RequestError, match="is not a key"):
            act(key)


def test_a_row_group_is_read_by_itself(store: Store) -> None:
    with store.writing("blocks/part") as stream, tables.writer(stream, pa.schema({"n": pa.int64()})) as parquet:
        for group in range(3):
            parquet.write_table(pa.table({"n": [group, group + 10]}))
    assert tables.read_group(store, "blocks/part", 1).column("n").to_pylist() == [1, 11]
    assert tables.read(store, "blocks/part").num_rows == 6
    with pytest.raises(FileNotFoundError):
        tables.read(store, "blocks/other")
