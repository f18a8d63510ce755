"""Setting up Apertium never stops the stack: what can't be had is said, with the command that adds it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tradu.stack import apertium


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apertium, "find", lambda home, mode: None)


def test_a_machine_without_apt_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (line,) = apertium.install_apertium(tmp_path)
    assert "left out: this machine has no apt-get" in line
    assert "apertium-eng-spa" in line


def apt_that(folder: Path, says: str, code: int) -> None:
    program = folder / "apt-get"
    program.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit {code}\n")
    program.chmod(0o755)


def test_a_failing_package_manager_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    apt_that(tmp_path, "E: Unable to fetch some archives", 100)
    for user in (0, 1000):
        monkeypatch.setattr("os.geteuid", lambda user=user: user)
        (line,) = apertium.install_apertium(tmp_path)
        assert "left out: apt-get failed: E: Unable to fetch some archives" in line
        assert f"as root: {apertium.ADD}" in line


def test_what_is_installed_but_does_not_translate_is_not_called_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    apt_that(tmp_path, "done", 0)
    (line,) = apertium.install_apertium(tmp_path)
    assert "a trial failed: eng-spa is missing" in line


def test_an_unreachable_archive_leaves_no_half_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    apt_that(tmp_path, "E: no network", 100)
    with pytest.raises(subprocess.CalledProcessError):
        apertium._unpack(tmp_path)
    assert not (tmp_path / "apertium" / "root").exists()
