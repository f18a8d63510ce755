"""models: what the registry says, on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from fixtures.marian import real_files


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


def test_a_model_is_added_measured_verified_and_removed(home: Path, tradu: Callable[..., Result]) -> None:
    about = ("--engine", "firefox", "--source", "en", "--target", "pt", "--licence", "MPL-2.0")
    home.mkdir()
    (home / "models.yaml").write_text("# mine\nmodels:\n  firefox-en-pt: {licence: Mine}\n")
    assert tradu("models", "add", "mine", *about, "--from", str(real_files().model.parent)).exit_code == 0
    rows = {row["name"]: row for row in json.loads(tradu("models", "list", "--json").stdout)}
    assert rows["mine"]["installed"]
    assert rows["mine"]["cost_per_million_characters"] > 0
    assert rows["firefox-en-pt"]["licence"] == "Mine"
    assert (home / "models.yaml").read_text().startswith("# mine\n")
    assert tradu("models", "verify", "--translate").exit_code == 0

    (weights,) = (home / "models" / "mine").glob("*/model*.bin")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    result = tradu("models", "verify", "mine")
    assert (result.exit_code, weights.name in result.stdout) == (1, True)
    weights.write_bytes(whole)

    result = tradu("models", "benchmark", "mine", "--sentences", "10", "--write", "--json")
    measured = json.loads(result.stdout)
    assert measured["sentences"] == 10
    assert tradu("models", "remove", "mine").exit_code == 0
    assert not weights.exists()
    assert "mine" not in {row["name"] for row in json.loads(tradu("models", "--json").stdout)}
    assert (home / "models.yaml").read_text() == "# mine\nmodels:\n  firefox-en-pt: {licence: Mine}\n"


def test_what_is_no_model_is_not_added(home: Path, tmp_path: Path, tradu: Callable[..., Result]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("no weights")
    about = ("--engine", "firefox", "--source", "en", "--target", "pt", "--licence", "MIT")
    for place, message in (("empty", "no files"), ("other", "not installed"), ("nowhere", "no folder")):
        result = tradu("models", "add", "mine", *about, "--from", str(tmp_path / place))
        assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
    result = tradu("models", "add", "firefox-en-de", *about, "--from", str(tmp_path / "other"))
    assert "another name" in result.stderr
    assert not (home / "models.yaml").exists()
    assert not [path for path in (home / "models").rglob("*") if path.is_file()]


def test_a_shipped_model_is_hidden_and_one_that_a_profile_names_stays(home: Path, tradu: Callable[..., Result]) -> None:
    assert tradu("models", "remove", "firefox-en-nl").exit_code == 0
    assert "firefox-en-nl" not in tradu("models").stdout
    result = tradu("models", "remove", "identity")
    assert (result.exit_code, "profiles identity" in result.stderr) == (2, True)
