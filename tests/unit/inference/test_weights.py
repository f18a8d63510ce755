"""Weights: from a folder, the model store and the cache; damaged, missing and strange ones are refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fixtures.marian import real_files
from tradu.errors import ModelError, RequestError
from tradu.inference import engines, manifest, model_store, weights
from tradu.inference.engines.firefox import status
from tradu.inference.model import Model
from tradu.inference.model_cache import ModelCache
from tradu.settings import Settings
from tradu.store import CHUNK_BYTES

MINE = Model("mine", "", "firefox", "standard", "en", "pt", "MIT", 1, 1.0, weights="mine")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", model_cache_mb=100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "somewhere"
    (made / "inner").mkdir(parents=True)
    (made / "a.bin").write_bytes(b"a" * 1000)
    (made / "inner" / "b.txt").write_text("b")
    (made / ".hidden").write_text("not part of it")
    (made / "link.bin").symlink_to(made / "a.bin")
    return made


def added(folder: Path, settings: Settings) -> Model:
    return replace(MINE, checksum=model_store.add("mine", str(folder), settings).checksum)


def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store in a folder is treated as one that is fetched from."""
    monkeypatch.setattr(weights, "folder_of", lambda _model, _settings: None)


def test_a_model_in_the_store_is_used_where_it_lies(folder: Path, settings: Settings) -> None:
    mine = added(folder, settings)
    assert weights.look(mine, settings).there
    assert weights.look(mine, settings).digest == mine.checksum[:12]
    place = weights.fetch(mine, settings)
    assert {name for name, _ in manifest.files_in(place)} == {"a.bin", "inner/b.txt", "link.bin"}
    assert model_store.faults(mine, settings) == []
    assert added(folder, settings) == mine
    model_store.remove("mine", mine.checksum, settings)
    assert not weights.look(mine, settings).there
    with pytest.raises(ModelError, match="mine is not installed"):
        weights.fetch(mine, settings)


def test_a_model_is_fetched_once_and_compared(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = added(folder, settings)
    remote(monkeypatch)
    assert weights.look(mine, settings).there
    place = weights.fetch(mine, settings)
    assert (place / "inner" / "b.txt").read_text() == "b"
    shutil.rmtree(settings.home / "models")
    assert weights.look(mine, settings).there
    assert weights.fetch(mine, settings) == place
    weights.release(mine.checksum)
    assert weights.fetch(mine, settings) == place
    weights.release(mine.checksum)


def test_one_that_is_evicted_at_that_moment_still_counts_with_its_size(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = added(folder, settings)
    remote(monkeypatch)
    monkeypatch.setattr(ModelCache, "has", lambda _cache, _checksum: True)  # it was there just now
    weights.fetch(mine, settings)
    weights.release(mine.checksum)
    assert (settings.home / "model-cache" / f"{mine.checksum}.lock").read_text() == "2001"


@pytest.mark.parametrize("harm", ["changed", "gone", "manifest", "path"])
def test_what_is_damaged_is_not_used(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    mine = added(folder, settings)
    place = weights.fetch(mine, settings)
    listed = place / manifest.NAME
    if harm == "changed":
        (place / "a.bin").write_bytes(b"b" * 1000)
    elif harm == "gone":
        (place / "a.bin").unlink()
    else:
        content = json.loads(listed.read_bytes())
        content["files"][0]["path" if harm == "path" else "sha256"] = "../evil"
        listed.write_text(json.dumps(content))
    assert len(model_store.faults(mine, settings)) == 1
    remote(monkeypatch)
    with pytest.raises(ModelError, match=r"damaged|no manifest"):
        weights.fetch(mine, settings)
    assert not (settings.home / "model-cache" / mine.checksum).exists()
    assert not (settings.home.parent / "evil").exists()


def test_no_more_is_fetched_than_there_is_room_for(
    folder: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = added(folder, settings)
    place = weights.fetch(mine, settings)
    (place / "a.bin").write_bytes(b"a" * 3 * CHUNK_BYTES)
    store = weights.prefix_of(mine, settings)
    with pytest.raises(ModelError, match="larger than 1,000 bytes"):
        weights.download(store, weights.manifest_of(store), tmp_path / "cache")
    assert (tmp_path / "cache" / "a.bin").stat().st_size <= 1000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(RequestError, match="room for"):
        model_store._copy(folder.as_uri(), tmp_path)


def test_a_copy_that_was_broken_off_is_completed(folder: Path, settings: Settings) -> None:
    mine = added(folder, settings)
    place = weights.fetch(mine, settings)
    (place / manifest.NAME).unlink()
    (place / "a.bin").write_bytes(b"half")
    added(folder, settings)
    assert model_store.faults(mine, settings) == []


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc", ".hidden", "a b"])
def test_names_stay_in_the_store(folder: Path, settings: Settings, name: str) -> None:
    with pytest.raises(RequestError, match="can't be the name"):
        model_store.add(name, str(folder), settings)


@pytest.mark.parametrize(
    ("source", "checksum", "message"),
    [
        ("relative/folder", "", "absolute path"),
        ("https://example.org/model", "", "absolute path"),
        ("name", "", "tradu models add"),
        ("s3://bucket/model", "", "checksum"),
    ],
)
def test_an_entry_that_does_not_say_where_its_weights_are(source: str, checksum: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        weights.check(source, checksum)


def test_a_firefox_model_from_the_store_has_the_version_of_its_files_and_translates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADU_HOME", str(tmp_path))
    mine = added(real_files().model.parent, Settings(home=tmp_path))
    seen = status(mine)
    assert seen.installed
    assert seen.version.startswith(mine.checksum[:12])
    engine = engines.load(mine)
    assert engine.translate(["The house is small."]) == ["A casa é pequena."]
    engine.close()
    other = replace(mine, source="pt", target="en", options={"candidates": "2"})
    with pytest.raises(ModelError, match="not installed"):  # there is no other direction to choose with
        engines.load(other)
