"""models: what the registry says, on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result


def test_models_say_whether_they_are_there_and_how_to_add_them(home: Path, tradu: Callable[..., Result]) -> None:
    rows = {row["name"]: row for row in json.loads(tradu("models", "--json").stdout)}
    neural = rows["firefox-en-pt"]
    assert (neural["source"], neural["target"], neural["tier"], neural["installed"]) == (
        "en",
        "pt",
        "standard",
        True,
    )
    assert neural["cost_per_million_characters"] > 0
    assert all(row["how_to_add"] for row in rows.values() if not row["installed"])


def test_a_registry_of_ones_own_is_merged(home: Path, tradu: Callable[..., Result]) -> None:
    home.mkdir()
    (home / "models.yaml").write_text("models:\n  firefox-en-pt:\n    licence: Mine\n")
    result = tradu("models")
    assert result.exit_code == 0
    assert "Mine" in result.stdout
    assert str(home / "models.yaml") in result.stdout


def test_a_wrong_entry_is_named(home: Path, tradu: Callable[..., Result]) -> None:
    home.mkdir()
    (home / "models.yaml").write_text("models:\n  firefox-en-pt:\n    tier: golden\n")
    result = tradu("models")
    assert result.exit_code == 2
    assert "firefox-en-pt" in result.stderr
    assert result.stderr.count("\n") == 1
