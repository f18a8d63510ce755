"""What a job would take: the counts are the line's own, and the price is of the models that would be tried first."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tradu.cli.main import app
from tradu.documents.model import FormatOptions
from tradu.estimate import Estimate, count, estimate
from tradu.inference.registry import Registry, load_registry
from tradu.layout import raw_key
from tradu.ledger.rows import Document
from tradu.partitioning.partition import document_blocks
from tradu.settings import Settings, get_settings
from tradu.store import Store

TEXT = "The cooperative met on Monday. Nobody knew what the harvest would bring.\n\nIt rained for eleven days.\n" * 40


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TRADU_HOME", str(tmp_path / "home"))
    return get_settings()


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return load_registry(settings)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    file = tmp_path / "report.txt"
    file.write_text(TEXT)
    return file


def _document(path: str) -> Document:
    from datetime import UTC, datetime
    from uuid import UUID

    now = datetime.now(UTC)
    checksum = sha256(TEXT.encode()).hexdigest()
    return Document(UUID(int=0), checksum, [path], path, "text", "en", 1.0, 1, 0, 0, "REGISTERED", None, None, now)


def test_the_counts_are_those_of_partition(report: Path, settings: Settings, tmp_path: Path) -> None:
    store, document = Store((tmp_path / "store").as_uri()), _document("report.txt")
    store.create()
    store.put(raw_key(document.document_id), report.read_bytes())
    cut = document_blocks(document, store, FormatOptions(), settings.max_block_chars, lambda _: "en")
    made = [block for _, block in cut]
    counted = count(report, "report.txt", "auto", FormatOptions(), settings)
    assert counted.source == "en"
    assert counted.blocks == len(made) > 1
    assert counted.segments == sum(len(block) for block in made)
    assert counted.characters == sum(len(segment.source) for block in made for segment in block)


def _estimate(
    files: list[Path], targets: list[str], settings: Settings, registry: Registry, profile: str = "balanced"
) -> Estimate:
    named = ((file, file.name) for file in files)
    return estimate(named, targets, "auto", profile, FormatOptions(), registry=registry, settings=settings, workers=2)


def test_the_price_is_of_every_rung_by_what_will_reach_it(report: Path, settings: Settings, registry: Registry) -> None:
    found = _estimate([report], ["pt"], settings, registry)
    (pair,) = found.pairs
    (first,), (second,) = registry.plan("en", "pt", "balanced").rungs
    assert pair.models == (first.name,)
    low, high = pair.rungs
    assert (low.characters, high.models) == (pair.characters, (second.name,))
    assert 0 < high.characters < low.characters
    assert low.cpu_seconds == pytest.approx(pair.characters / 1e6 * first.cpu_seconds_per_million_chars)
    assert pair.cpu_seconds == pytest.approx(low.cpu_seconds + high.cpu_seconds)
    assert found.cost == pytest.approx(pair.cpu_seconds / 3600 * settings.cpu_price_per_hour)
    assert found.seconds == pytest.approx(pair.cpu_seconds / 2)
    assert not found.problems


def test_a_tier_that_does_not_pay_is_left_out_and_says_so(report: Path, settings: Settings, registry: Registry) -> None:
    (pair,) = estimate([(report, report.name)], ["pt"], "auto", "economy", FormatOptions(), registry=registry,
                       settings=settings, workers=2).pairs  # fmt: skip
    assert pair.tier == "standard"
    assert [why[:7] for why in pair.left_out] == ["economy"]


def test_its_own_language_costs_nothing(report: Path, settings: Settings, registry: Registry) -> None:
    (pair,) = _estimate([report], ["en"], settings, registry).pairs
    assert (pair.models, pair.cost, pair.problem) == ((), 0.0, None)
    assert pair.blocks > 0


def test_a_language_without_a_model_says_what_to_do(report: Path, settings: Settings, registry: Registry) -> None:
    found = _estimate([report], ["ja"], settings, registry)
    assert found.cost == 0
    assert len(found.problems) == 1
    assert "en to ja" in found.problems[0]


def test_a_file_that_stands_twice_is_counted_once(report: Path, settings: Settings, registry: Registry) -> None:
    twin = report.with_name("twin.txt")
    twin.write_text(TEXT)
    one, both = (_estimate(files, ["pt"], settings, registry) for files in ([report], [report, twin]))
    assert both.pairs == one.pairs


def test_what_would_be_refused_is_said(tmp_path: Path, settings: Settings, registry: Registry) -> None:
    empty, binary = tmp_path / "empty.txt", tmp_path / "noise.bin"
    empty.touch()
    binary.write_bytes(bytes(range(256)) * 20)
    found = _estimate([empty, binary], ["pt"], settings, registry)
    assert [problem.split(":")[0] for problem in found.problems] == ["empty.txt", "noise.bin"]
    assert found.pairs == ()


@pytest.fixture
def run(settings: Settings) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(app, ["estimate", *words])


def test_the_command_prints_a_table_or_json(report: Path, run: Callable[..., Result]) -> None:
    shown = run(str(report), "--to", "pt")
    assert shown.exit_code == 0, shown.stderr
    assert "firefox-en-pt" in shown.stdout
    data = json.loads(run(str(report), "--to", "pt", "--json").stdout)
    assert data["cost"] == pytest.approx(sum(pair["cost"] for pair in data["pairs"]))
    assert data["cost"] > 0
    assert data["documents"][0]["path"] == "report.txt"


def test_the_command_refuses_and_warns(report: Path, run: Callable[..., Result]) -> None:
    assert run(str(report), "--to", "pt", "--profile", "golden").exit_code == 2
    assert run(str(report), "--to", "!").exit_code == 2
    assert run(str(report.with_name("missing")), "--to", "pt").exit_code == 2
    unknown = run(str(report), "--to", "ja")
    assert unknown.exit_code == 1
    assert "Would not be translated" in unknown.stdout
