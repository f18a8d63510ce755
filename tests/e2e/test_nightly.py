"""The nightly DAG through a real Airflow: the new is translated, what can't be is told, nothing is done twice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fixtures.stack import Stack

NIGHTLY = "tradu_nightly"
SUPPORT = "tenant: support\ntargets: [en, pt]\nsource: en\n"
FILES = {
    "notes/harbour.txt": "The harbour was closed because of the storm.\n",
    "notes/corrupt.jsonl": '{"title": "The pump makes a noise"}\n{"title": \n',
    "notes/empty.md": "",
    "notes/deep/numbers.csv": "a,b\n1,2\n3,4\n",
    "support/tradu.yaml": SUPPORT,
    "support/north/ticket.txt": "The heating in the station does not work.\n",
}
pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


def _run(stack: Stack) -> str:
    """A nightly run, and that it ended well; its id."""
    run_id = stack.api.trigger(NIGHTLY, {})
    assert stack.ended(run_id, NIGHTLY, seconds=240) == "success"
    return run_id


def _reports(stack: Stack, run_id: str) -> list[dict[str, Any]]:
    """What the task `report` left for people to read."""
    found: list[dict[str, Any]] = stack.xcoms(run_id, NIGHTLY)["report", -1, "return_value"]
    return found


def _jobs(stack: Stack) -> set[str]:
    return {job["job_id"] for job in json.loads(stack.tradu("jobs", "--limit", "1000", "--json").stdout)}


@pytest.fixture(scope="module")
def first(stack: Stack) -> list[dict[str, Any]]:
    """The reports of a night with good documents and bad ones."""
    stack.put(FILES, "landing")
    return _reports(stack, _run(stack))


def _of(reports: list[dict[str, Any]], *, told: bool) -> dict[str, Any]:
    """The report of the job with documents to tell of (those of `notes`), or without."""
    (report,) = [one for one in reports if bool(one["told"]) is told]
    return report


def test_the_rest_is_translated_in_its_tree(stack: Stack, first: list[dict[str, Any]]) -> None:
    notes, support = _of(first, told=True)["job_id"], _of(first, told=False)["job_id"]
    assert len(first) == 2, "a job for each configuration"
    assert "porto" in stack.line.output(notes, "notes/harbour.txt").decode().lower()
    assert stack.line.output(notes, "notes/deep/numbers.csv").decode() == FILES["notes/deep/numbers.csv"]
    assert "estação" in stack.line.output(support, "support/north/ticket.txt", "pt").decode().lower()
    assert stack.line.output(support, "support/north/ticket.txt", "en").decode() == FILES["support/north/ticket.txt"]
    assert stack.line.job(support).tenant == "support"


def test_what_is_not_translated_is_told_and_why(stack: Stack, first: list[dict[str, Any]]) -> None:
    assert _of(first, told=False)["state"] == "COMPLETED"
    notes = _of(first, told=True)
    assert (notes["state"], notes["documents"], notes["told"]) == ("PARTIAL", 4, 3)
    ended = {path: (d.state, d.reason or "") for path, d in stack.line.documents(notes["job_id"]).items()}
    for path, state, why in (
        ("notes/corrupt.jsonl", "ERROR", "line 2"),
        ("notes/empty.md", "ERROR", "empty"),
        ("notes/deep/numbers.csv", "COMPLETED", "nothing to translate"),
    ):
        assert ended[path][0] == state
        assert why in ended[path][1]


def test_only_what_has_changed_is_done_another_night(stack: Stack, first: list[dict[str, Any]]) -> None:
    before = _jobs(stack)
    assert _reports(stack, _run(stack)) == []
    assert _jobs(stack) == before

    stack.put({"notes/harbour.txt": "The harbour was opened again after the storm.\n"}, "landing")
    (report,) = _reports(stack, _run(stack))
    assert _jobs(stack) - before == {report["job_id"]}
    assert (report["state"], report["documents"], report["told"]) == ("COMPLETED", 1, 0)
    assert set(stack.line.documents(report["job_id"])) == {"notes/harbour.txt"}
    assert "aberto" in stack.line.output(report["job_id"], "notes/harbour.txt").decode().lower()
