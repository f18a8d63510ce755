"""What is left of an object when its process is killed while it writes, or the power goes when it has written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tradu.layout import INCOMING
from tradu.store import Store

KILLED = """
import os, signal, sys
from tradu.store import Store

with Store(sys.argv[1]).writing("output/job/pt/letter.txt") as stream:
    stream.write(b"half a letter")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_unfinished_lies_among_the_outputs(tmp_path: Path) -> None:
    store = Store((tmp_path / "store").as_uri())
    store.create()
    subprocess.run([sys.executable, "-c", KILLED, store.uri], check=False)
    left = [path.relative_to(store.root).as_posix() for path in Path(store.root).rglob("*") if path.is_file()]
    assert len(left) == 1
    assert left[0].startswith(INCOMING)


def test_an_object_that_was_written_has_its_name_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name on the way to it: one that is in no folder on the disk is gone with the power."""
    store, fsync = Store((tmp_path / "store").as_uri()), os.fsync
    store.create()
    synced: list[tuple[str, list[str]]] = []

    def record(descriptor: int) -> None:
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
        fsync(descriptor)
        if place.is_dir():
            synced.append((place.relative_to(store.root).as_posix(), sorted(p.name for p in place.iterdir())))

    monkeypatch.setattr(os, "fsync", record)
    store.put("results/job/a", b"x")
    kept = [entry for entry in synced if "raw" not in entry[0]]
    assert kept[-1] == ("results/job", ["a"])
    assert ("results", ["job"]) in kept
    assert any(place == "." and "results" in names for place, names in kept)
    synced.clear()
    store.move("results/job/a", "output/job/a")
    assert synced[-1] == ("output/job", ["a"])
    assert ("output", ["job"]) in synced
