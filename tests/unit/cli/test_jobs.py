"""jobs, job, blocks and cancel, on a real ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from typer.testing import Result

from tradu.ledger import cancel as ledger_cancel
from tradu.ledger import jobs
from tradu.ledger.rows import Document, HistoryRow, Progress

if TYPE_CHECKING:
    from pathlib import Path

    from unit.cli.conftest import FakeAirflow, Line

Tradu = Callable[..., Result]


def test_without_a_stack_it_says_how_to_start_one(home: Path, tradu: Tradu) -> None:
    result = tradu("jobs")
    assert result.exit_code == 3
    assert "tradu up" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_ledger_that_is_down_is_3(home: Path, tradu: Tradu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_LEDGER_URL", "postgresql://nobody@127.0.0.1:1/none")
    result = tradu("jobs")
    assert result.exit_code == 3
    assert "can't be reached" in result.stderr


def test_a_setting_that_is_no_json_is_named(home: Path, tradu: Tradu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_SOURCES", "/srv/documents")
    result = tradu("jobs")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("tradu: TRADU_SOURCES must be JSON: ")


def test_a_setting_that_is_wrong_is_named(home: Path, tradu: Tradu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_WORKERS", "many")
    result = tradu("jobs")
    assert result.exit_code == 2
    assert "TRADU_WORKERS" in result.stderr


def test_a_ledger_without_tables_is_3(
    home: Path, tradu: Tradu, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADU_LEDGER_URL", empty_database)
    result = tradu("jobs")
    assert result.exit_code == 3
    assert "tradu up" in result.stderr


def test_debug_shows_the_traceback(home: Path, tradu: Tradu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_DEBUG", "1")
    with pytest.raises(Exception, match="no ledger"):
        tradu("jobs")


def test_jobs_lists_the_newest_first(line: Line, tradu: Tradu) -> None:
    old, new = line.whole(key="a"), line.whole("PARTIAL", key="b")
    result = tradu("jobs")
    assert result.exit_code == 0
    assert result.stdout.index(str(new)) < result.stdout.index(str(old))
    rows = json.loads(tradu("jobs", "--limit", "1", "--json").stdout)
    assert [(row["job_id"], row["state"]) for row in rows] == [(str(new), "PARTIAL")]


@pytest.mark.parametrize(("state", "code"), [("COMPLETED", 0), ("PARTIAL", 1), ("ERROR", 1)])
def test_the_exit_code_of_job_is_its_state(line: Line, tradu: Tradu, state: str, code: int) -> None:
    job = line.whole(state)
    result = tradu("job", str(job))
    assert result.exit_code == code
    assert state in result.stdout


def test_a_job_that_runs_is_0(line: Line, tradu: Tradu) -> None:
    job = line.admit()
    line.partition(job)
    result = tradu("job", str(job))
    assert result.exit_code == 0
    assert "3 PENDING" in result.stdout


def test_job_shows_models_cost_and_what_is_left_undone(line: Line, tradu: Tradu, airflow: FakeAirflow) -> None:
    job = line.whole("PARTIAL", run_id="run-1")
    airflow.runs["run-1"] = "success"
    airflow.ran(("admit", "success", -1), ("infer", "success", 0), ("infer", "success", 1))
    result = tradu("job", str(job)[-12:])
    for said in (
        "firefox-en-pt",
        "0.375",
        "0.25",
        "numbers: 10 is missing",
        "docs/guide.md",
        "2 of 6 segments",
        "infer",
        "--state ERROR",
    ):
        assert said in result.stdout
    data = json.loads(tradu("job", str(job), "--json").stdout)
    assert data["cost"] == pytest.approx(0.375)
    assert data["cost_estimate"] == pytest.approx(0.25)
    assert data["errors"] == [{"error_class": "model", "reason": "numbers: 10 is missing", "blocks": 1}]
    assert [(s["name"], s["state"], s["seconds"], s["count"]) for s in data["stages"]] == [
        ("admit", "success", 1.0, 1),
        ("ingest", "waiting", None, 0),
        ("infer", "success", 2.0, 2),
    ]
    assert data["outputs"][0]["places"] == [f"{line.store.uri}/output/{job}/pt/docs/guide.md"]


def test_job_says_when_airflow_is_away(line: Line, tradu: Tradu) -> None:
    result = tradu("job", str(line.whole()))
    assert result.exit_code == 0
    assert "stages are not known" in result.stderr


def test_a_part_of_an_id_must_be_of_one_job(line: Line, tradu: Tradu) -> None:
    one, two = line.whole(key="a"), line.whole(key="b")
    shared = str(one)[:4]
    assert tradu("job", str(one)[-12:]).exit_code == 0
    several = tradu("job", shared)
    assert several.exit_code == 2
    assert str(one) in several.stderr
    assert str(two) in several.stderr
    for wrong in ("ffffffffffff", "no-id!", "x" * 36, "-" * 36, "%"):
        assert tradu("job", "--", wrong).exit_code == 2


def test_blocks_by_state_and_page(line: Line, tradu: Tradu) -> None:
    job = str(line.whole("PARTIAL"))
    bad = json.loads(tradu("blocks", job, "--state", "error", "--json").stdout)
    assert [(b["number"], b["state"], b["reason"]) for b in bad] == [(2, "ERROR", "numbers: 10 is missing")]
    place: list[str] = []
    for number in range(3):
        shown = tradu("blocks", job, "--limit", "1", *place, "--json")
        assert [b["number"] for b in json.loads(shown.stdout)] == [number]
        place = shown.stderr.split()[-2:]
        assert place[0] == "--after"
    assert json.loads(tradu("blocks", job, *place, "--json").stdout) == []
    assert tradu("blocks", job, "--after", "nowhere").exit_code == 2
    assert "numbers: 10 is missing" in tradu("blocks", job).stdout


def test_cancel_ends_the_job_and_keeps_what_is_done(line: Line, tradu: Tradu, airflow: FakeAirflow) -> None:
    job = line.admit(run_id="run-1")
    airflow.runs["run-1"] = "running"
    line.partition(job)
    line.translate(job, [0])
    line.accept(job)
    result = tradu("cancel", str(job), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "job_id": str(job),
        "state": "CANCELED",
        "blocks_canceled": 2,
        "run_stopped": True,
    }
    assert airflow.runs["run-1"] == "failed"
    with line.ledger.transaction() as tx:
        assert {p.state: p.blocks for p in tx.rows("progress", Progress, job_id=job)} == {
            "COMPLETED": 1,
            "CANCELED": 2,
        }
        assert [d.state for d in tx.rows("documents", Document, job_id=job)] == ["CANCELED"]
        last = tx.rows("history_of", HistoryRow, job_id=job, entity_ids=[str(job)])[-1]
    assert (last.to_state, last.reason) == ("CANCELED", ledger_cancel.REASON)
    again = json.loads(tradu("cancel", str(job), "--json").stdout)
    assert (again["state"], again["blocks_canceled"], again["run_stopped"]) == ("CANCELED", 0, False)
    assert tradu("job", str(job)).exit_code == 1


def test_cancel_works_without_airflow(line: Line, tradu: Tradu) -> None:
    job = line.admit()
    result = tradu("cancel", str(job))
    assert result.exit_code == 0
    assert "ends by itself" in result.stderr
    assert jobs.find(job, line.ledger).state == "CANCELED"


def test_a_finished_job_is_not_cancelled(line: Line, tradu: Tradu, airflow: FakeAirflow) -> None:
    job = line.whole()
    result = tradu("cancel", str(job))
    assert result.exit_code == 0
    assert "COMPLETED" in result.stdout
    assert jobs.find(job, line.ledger).state == "COMPLETED"


def test_blocks_that_partition_adds_after_the_cancel_are_cancelled_by_the_next(line: Line) -> None:
    job = line.admit()
    before = jobs.find(job, line.ledger)
    assert ledger_cancel.cancel(line.ledger, before) == 0
    with line.ledger.transaction() as tx:
        tx.run(
            "register_document",
            job_id=job,
            document_id="e" * 64,
            paths=["x"],
            origin="x",
            format="text",
            source="en",
            language_confidence=1.0,
            size_bytes=1,
            error=None,
        )
        from tradu.ledger import blocks
        from tradu.ledger.blocks import NewBlock

        blocks.add(tx, job, [], [NewBlock("e" * 64, "pt", n, 7, 1, 9) for n in range(2)])
    assert ledger_cancel.cancel(line.ledger, before) == 2


def test_control_characters_of_names_do_not_reach_the_terminal(line: Line, tradu: Tradu) -> None:
    job = line.admit()
    line.partition(job, path="evil\x1b[2J.md")
    result = tradu("job", str(job))
    assert "\x1b" not in result.stdout
    assert "evil" in result.stdout


def test_trace_tells_the_life_of_a_block(line: Line, tradu: Tradu) -> None:
    job = line.whole()
    block = json.loads(tradu("blocks", str(job), "--json").stdout)[0]["block_id"]
    steps = json.loads(tradu("trace", block, "--json").stdout)
    assert [s["to_state"] for s in steps if s["entity"] == "block"] == [
        "PENDING",
        "CLAIMED",
        "PROCESSING",
        "VALIDATING",
        "COMPLETED",
    ]
    assert {s["entity"] for s in steps} == {"job", "document", "block"}
    shown = tradu("trace", block).stdout
    assert "VALIDATING" in shown
    assert shown.index("ADMITTED") < shown.index("COMPLETED")


def test_trace_of_a_document_by_path_or_checksum(line: Line, tradu: Tradu) -> None:
    job = line.whole()
    by_path = json.loads(tradu("trace", str(job), "--document", "docs/guide.md", "--json").stdout)
    assert {s["entity"] for s in by_path} == {"job", "document"}
    checksum = next(s["entity_id"] for s in by_path if s["entity"] == "document")
    assert json.loads(tradu("trace", str(job), "--document", checksum[:8], "--json").stdout) == by_path


@pytest.mark.parametrize("words", [("no-block",), ("01a20c42-db0e-8853-a027-47392d23d521",)])
def test_trace_of_what_is_not_there_is_2(line: Line, tradu: Tradu, words: tuple[str, ...]) -> None:
    line.whole()
    result = tradu("trace", *words)
    assert result.exit_code == 2
    assert "tradu blocks" in result.stderr
