"""`tradu verify` on real jobs: all agrees until something is damaged, and what was lost can be made again."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from fixtures.line import Line
from tradu import layout, line
from tradu.cluster import batch
from tradu.errors import DamagedError
from tradu.ledger import decisions, jobs
from tradu.verify import Findings, verify

FILES = {
    "a.txt": "The harbour was closed because of the storm.\n",
    "b.md": "# Hours\n\nThe library opens at nine in the morning.\n",
}


@pytest.fixture
def job(the_line: Line) -> str:
    the_line.put(FILES)
    job, state = the_line.run(source="en")
    assert state == "COMPLETED"
    return job


def look(the_line: Line, job: str) -> Findings:
    return verify(the_line.job(job), the_line.ledger, the_line.store)


def path(the_line: Line, key: str) -> Path:
    return Path(the_line.store.path(key))


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 0x10
    file.write_bytes(bytes(data))


def test_a_whole_job_agrees(the_line: Line, job: str) -> None:
    found = look(the_line, job)
    assert found.faults == []
    assert found.blocks == len(the_line.blocks(job))
    assert found.objects >= 2 * len(FILES) + 5


def test_every_object_that_the_job_has_is_named(the_line: Line, job: str) -> None:
    root = Path(the_line.store.root)
    there = {str(f.relative_to(root)) for p in ("blocks", "results", "gates", "output") for f in (root / p).rglob("*")}
    with the_line.ledger.transaction() as tx:
        named = {key for key, _, _ in tx.tuples("objects", job_id=UUID(job), after="", limit=1_000)}
    assert {key for key in there if (root / key).is_file()} == named


@pytest.mark.parametrize("kind", ["raw", "part", "result", "output", "manifest", "provenance"])
def test_damage_of_any_object_is_found(the_line: Line, job: str, kind: str) -> None:
    (document,) = (d for p, d in the_line.documents(job).items() if p == "a.txt")
    key = {
        "raw": layout.raw_key(document.document_id),
        "part": layout.part_key(UUID(job), 0),
        "result": the_line.blocks(job)[0].result or "",
        "output": layout.output_key(UUID(job), "pt", "a.txt"),
        "manifest": layout.manifest_key(UUID(job)),
        "provenance": layout.provenance_key(UUID(job), "pt", document.document_id),
    }[kind]
    flip(path(the_line, key), 12)
    try:
        found = look(the_line, job)
    except ValueError:  # the manifest is no JSON any more
        assert kind == "manifest"
        return
    assert key in {fault.key for fault in found.faults}
    path(the_line, key).unlink()
    if kind != "manifest":
        assert (key, "is missing") in {(f.key, f.problem) for f in look(the_line, job).faults}


def test_damaged_segments_and_results_are_not_read(the_line: Line) -> None:
    the_line.put(FILES)
    job = the_line.admit(source="en")
    shards = the_line.prepare(job)
    part = path(the_line, layout.part_key(UUID(job), 0))
    whole = part.read_bytes()
    flip(part, 60)
    for number in sorted({b.batch for b in the_line.blocks(job) if b.batch is not None}):
        batch.run_batch(job, number)
    assert {(b.state, b.error_class) for b in the_line.blocks(job)} == {("ERROR", "data")}
    assert all("damaged" in (b.reason or "") for b in the_line.blocks(job))
    part.write_bytes(whole)
    with the_line.ledger.transaction() as tx:
        tx.run("retry_blocks", job_id=UUID(job))
    the_line.infer(job, shards)
    flip(path(the_line, the_line.blocks(job)[0].result or ""), 60)
    with pytest.raises(DamagedError, match="damaged"):
        line.gate_translations(job)


def test_lost_results_are_made_again(the_line: Line, job: str) -> None:
    before = {name: the_line.output(job, name) for name in FILES}
    results = {b.result or "" for b in the_line.blocks(job)}
    for key in results:
        path(the_line, key).unlink()
    found = look(the_line, job)
    assert set(found.lost_results) == results
    assert decisions.redo(the_line.ledger, the_line.job(job), found.lost_results, "lost") == len(the_line.blocks(job))
    assert {b.state for b in the_line.blocks(job)} == {"PENDING"}
    again = the_line.admit(source="en")
    assert again == job
    the_line.infer(job, the_line.prepare(job))
    assert the_line.deliver(job) == "COMPLETED"
    assert look(the_line, job).faults == []
    assert {name: the_line.output(job, name) for name in FILES} == before
    assert jobs.find(UUID(job), the_line.ledger).state == "COMPLETED"
