"""Every command explains itself, quickly, with an example."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import Result

from tradu.cli.main import app
from tradu.cli.person import me

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_the_commands_people_were_promised_are_there() -> None:
    promised = [
        "up",
        "down",
        "status",
        "translate",
        "estimate",
        "jobs",
        "job",
        "blocks",
        "cancel",
        "models",
        "doctor",
        "demo",
        "setup",
        "clean",
    ]
    assert set(promised) <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(name: str, tradu: Callable[..., Result]) -> None:
    result = tradu(name, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"tradu {name}" in result.stdout


def test_help_imports_nothing_heavy() -> None:
    heavy = [
        "psycopg",
        "httpx",
        "pyarrow",
        "pandas",
        "fsspec",
        "tradu.inference.registry",
        "sqlalchemy",
        "airflow",
    ]
    code = (
        "import sys; from tradu.cli.main import app\n"
        "try: app(['translate', '--help'])\n"
        "except SystemExit: pass\n"
        f"sys.stderr.write(','.join(m for m in {heavy!r} if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Examples:" in done.stdout
    assert done.stderr == ""


def test_wrong_usage_is_2(tradu: Callable[..., Result]) -> None:
    assert tradu("job").exit_code == 2
    assert tradu("translate", "x.txt").exit_code == 2
    assert tradu("blocks", "abc", "--state", "NONSENSE").exit_code == 2


@pytest.mark.parametrize("service", ["controller", "agent"])
def test_without_a_ledger_a_service_says_what_to_do(service: str, home: Path, tradu: Callable[..., Result]) -> None:
    result = tradu(service)
    assert result.exit_code == 3
    assert "tradu up" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_account_without_a_name_has_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    assert me() == "54321"
