"""`tradu clean` removes what the stack made, and nobody's own folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tradu.errors import SystemicError
from tradu.settings import Settings
from tradu.stack.clean import clean


@pytest.fixture(autouse=True)
def _an_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # as root it looks after the system user, whom others may need


@pytest.mark.parametrize(
    "names", [["secrets/fernet-key", "more/a"], ["run/supervisord.conf"], ["native/k.so", "apertium/x"]]
)
def test_a_home_of_the_stack_goes(tmp_path: Path, names: list[str]) -> None:
    _fill(tmp_path / "home", names)
    assert clean(Settings(home=tmp_path / "home")) == [str(tmp_path / "home")]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [["logs/a"], ["run/app.pid", "secrets/key"], ["native/k.so", "thesis.txt"]])
def test_somebody_s_own_folder_stays(tmp_path: Path, names: list[str]) -> None:
    _fill(tmp_path / "home", names)
    with pytest.raises(SystemicError, match="does not look like"):
        clean(Settings(home=tmp_path / "home"))
    assert all((tmp_path / "home" / name).is_file() for name in names)


def _fill(home: Path, names: list[str]) -> None:
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("")
