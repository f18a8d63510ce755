"""What a worker knows of models while people edit the files: the last registry that could be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradu.cluster import segments
from tradu.errors import SystemicError

WRONG = "models:\n  firefox-en-pt: {memory_mb: 4"
MOUNTED = """
models:
  mine: {engine: firefox, tier: standard, source: fi, target: is, licence: MIT, memory_mb: 1,
         cpu_seconds_per_million_chars: 1, weights: FOLDER}
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file of models; the worker has read nothing yet."""
    monkeypatch.setenv("TRADU_HOME", str(tmp_path))
    monkeypatch.setattr(segments._kept, "_last", None)
    return tmp_path / "models.yaml"


def test_a_file_that_became_wrong_changes_nothing_and_is_read_once(models: Path) -> None:
    models.write_text("models: {firefox-en-pt: {memory_mb: 41}}")
    before = segments.registry()
    assert segments.registry() is before
    models.write_text(WRONG)
    assert segments.registry() is before
    models.write_bytes(b"\xff\xfe half of it")
    assert segments.registry() is before
    models.write_text("models: {firefox-en-pt: {memory_mb: 42, licence: MIT}}")
    assert segments.registry().model("firefox-en-pt").memory_mb == 42


def test_where_it_was_wrong_from_the_start_no_block_is_to_blame(models: Path) -> None:
    models.write_text(WRONG)
    with pytest.raises(SystemicError, match="the registry can't be read"):
        segments.registry()
    models.unlink()
    assert segments.registry().model("firefox-en-pt")


def test_what_could_not_be_looked_at_is_looked_at_again(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    models.write_text(MOUNTED.replace("FOLDER", str(folder)))
    assert not segments.registry().is_whole
    (folder / "model.bin").write_bytes(b"weights")
    assert not segments.registry().is_whole, "not at once: looking may take long"
    monkeypatch.setattr(segments._kept, "_last", None)
    monkeypatch.setattr(segments, "LOOK_AGAIN_SECONDS", 0.0)
    (folder / "model.bin").unlink()
    assert not segments.registry().is_whole
    (folder / "model.bin").write_bytes(b"weights")
    known = segments.registry()
    assert known.is_whole
    assert known.status(known.model("mine")).installed
    assert segments.registry() is known
