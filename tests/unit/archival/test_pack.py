"""Packs and manifests: every byte comes back, whatever the sizes, and damage is seen."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradu.archival import manifest, pack
from tradu.errors import DamagedError
from tradu.store import Store, StoredObject

JOB = UUID("019adeaf-0000-7000-8000-000000000000")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store((tmp_path / "store").as_uri())
    made.create()
    return made


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces, groups and files of some bytes."""
    for name, size in (("PIECE_BYTES", 7), ("GROUP_BYTES", 20), ("FILE_BYTES", 50), ("GROUP_ROWS", 4)):
        monkeypatch.setattr(pack, name, size)


def write(store: Store, members: dict[str, bytes]) -> pack.Packed:
    return pack.write(store, JOB, ((key, closing(io.BytesIO(data))) for key, data in members.items()))


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.binary(max_size=200), max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_what_goes_in_comes_out(store: Store, members: dict[str, bytes]) -> None:
    packed = write(store, members)
    files = [f.key for f in packed.files]
    assert {key: b"".join(pieces) for key, pieces in pack.read(store, files)} == members
    assert [m.size_bytes for m in packed.members] == [len(data) for data in members.values()]
    assert [store.problem(f.key, f.sha256) for f in packed.files] == [None] * len(files)
    assert len(files) <= 1 + sum(map(len, members.values())) // 50
    assert [key for key, _ in pack.read(store, files)] == list(members)  # pieces may be left unread


def test_a_write_that_breaks_leaves_no_open_file(store: Store) -> None:
    class BreaksError(Exception):
        pass

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise BreaksError

    sources = [("a", closing(io.BytesIO(b"x" * 30))), ("b", closing(Broken()))]
    with pytest.raises(BreaksError):
        pack.write(store, JOB, sources)
    assert not store.exists(f"cold/{JOB}/pack-00000.parquet")


def test_no_flipped_bit_passes_for_the_content(store: Store) -> None:
    members = {"a": bytes(range(40))}
    (file,) = write(store, members).files
    path = Path(store.path(file.key))
    whole, seen = path.read_bytes(), 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert store.problem(file.key, file.sha256) is not None
        try:
            assert {key: b"".join(pieces) for key, pieces in pack.read(store, [file.key])} == members
        except DamagedError:
            seen += 1
    assert seen > len(whole) / 2


def made() -> manifest.Manifest:
    stored = StoredObject("output/é.txt", "0" * 64, 3)
    return manifest.Manifest(str(JOB), "default", "2026-11-28T00:00:00+00:00", "me", [stored], [stored], {"blocks": 2})


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert manifest.decode("m", made().encode()) == made()


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", made().encode().replace(b'"format": 1', b'"format": 99')])
def test_what_is_no_manifest_is_damage(data: bytes) -> None:
    with pytest.raises(DamagedError, match=r"^m "):
        manifest.decode("m", data)
