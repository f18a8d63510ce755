"""Blocks a page at a time: every block once, in order, along an index, however many there are."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from fixtures.ledger import REQUEST
from tradu.assembly.pages import Place, page
from tradu.errors import RequestError
from tradu.ledger import blocks
from tradu.ledger.blocks import NewBatch, NewBlock
from tradu.ledger.connection import Ledger
from tradu.ledger.jobs import JobRequest, admit, find
from tradu.ledger.rows import Job
from tradu.ledger.sql import QUERIES

DOCUMENTS = [letter * 64 for letter in "abc"]
NUMBERS = 500


@pytest.fixture
def job(ledger: Ledger) -> Job:
    """A job with 3,000 blocks among those of another one."""
    jobs = [fill(ledger, key) for key in ("one", "two")]
    with ledger.transaction() as tx:
        tx.connection.execute("ANALYZE blocks, documents, batches")
    return find(jobs[0], ledger)


def fill(ledger: Ledger, key: str) -> UUID:
    job = admit(JobRequest(["file:///x"], ["pt", "es"], key, request_id=REQUEST), f"run-{key}", ledger).job_id
    with ledger.transaction(REQUEST) as tx:
        for document in DOCUMENTS:
            tx.run(
                "register_document", job_id=job, document_id=document, paths=[f"{document[0]}.txt"], origin="file:///x",
                format="text", source="en", language_confidence=1.0, size_bytes=1, error=None,
            )  # fmt: skip
        places = [(d, t, n) for d in DOCUMENTS for t in ("es", "pt") for n in range(NUMBERS)]
        batches = [NewBatch(b, "en", t, "blocks/part", b, 100) for b, t in ((0, "es"), (1, "pt"))]
        rows = [NewBlock(d, t, n, ("es", "pt").index(t), 1, 10) for d, t, n in places]
        blocks.add(tx, job, batches, rows)
    return job


def walked(ledger: Ledger, job: Job, limit: int, **chosen: str | None) -> list[Place]:
    found: list[Place] = []
    while True:
        got = page(ledger, job, found[-1] if found else Place(), limit, **chosen)
        found += [Place(b.document_id, b.target, b.number) for b in got]
        if len(got) < limit:
            return found


@pytest.mark.parametrize("limit", [299, 3_000, 3_001])
def test_pages_have_every_block_once_and_in_order(ledger: Ledger, job: Job, limit: int) -> None:
    found = walked(ledger, job, limit)
    assert found == [Place(d, t, n) for d in DOCUMENTS for t in ("es", "pt") for n in range(NUMBERS)]


def test_a_document_and_a_language_are_paged_by_themselves(ledger: Ledger, job: Job) -> None:
    assert walked(ledger, job, 170, document_id=DOCUMENTS[1]) == [
        Place(DOCUMENTS[1], t, n) for t in ("es", "pt") for n in range(NUMBERS)
    ]
    assert walked(ledger, job, 170, target="pt") == [Place(d, "pt", n) for d in DOCUMENTS for n in range(NUMBERS)]
    assert walked(ledger, job, 170, document_id=DOCUMENTS[2], target="es") == [
        Place(DOCUMENTS[2], "es", n) for n in range(NUMBERS)
    ]
    assert page(ledger, job, Place(), 10, document_id="f" * 64) == []


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("page_of_job", {"after_document": DOCUMENTS[1], "after_target": "es", "after_number": 400}),
        ("page_of_document", {"document_id": DOCUMENTS[1], "after_target": "es", "after_number": 400}),
        ("placed_block", {"document_id": DOCUMENTS[1], "target": "es", "number": 400}),
    ],
)
def test_a_page_is_read_along_the_index(ledger: Ledger, job: Job, query: str, asked: dict[str, Any]) -> None:
    values = {"job_id": job.job_id, "target": None, "limit": 50} | asked
    with ledger.transaction() as tx:
        explained = tx.connection.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + QUERIES[query].as_string(), values)
        (plan,) = explained.fetchone() or ()
    steps = nodes((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"])
    on_blocks = [step for step in steps if step.get("Relation Name", "").startswith("blocks")]
    assert [step["Node Type"] for step in on_blocks] == ["Index Scan"]
    assert "document_id_target_number" in on_blocks[0]["Index Name"]
    assert on_blocks[0]["Actual Rows"] <= 50
    assert on_blocks[0].get("Rows Removed by Filter", 0) == 0
    assert not any(step["Node Type"] in ("Sort", "Incremental Sort") for step in steps)
    assert not any(step["Node Type"] == "Seq Scan" and step["Relation Name"].startswith("blocks") for step in steps)


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes(child))]


@pytest.mark.parametrize("text", ["", "a:b", "a:b:c", "a:b:1:2", "a:b:99999999999"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="is no place"):
        Place.parse(text)


def test_a_place_is_written_and_read() -> None:
    place = Place("ab" * 32, "pt-BR", 17)
    assert Place.parse(str(place)) == place
