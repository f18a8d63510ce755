"""`tradu verify` on real jobs: all agrees until something is damaged, and what was lost can be made again."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from fixtures.line import Line
from tradu import layout, line
from tradu.assembly.publish import delivered
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
    assert key in {fault.key for fault in look(the_line, job).faults}
    path(the_line, key).unlink()
    assert (key, "is missing") in {(f.key, f.problem) for f in look(the_line, job).faults}


@pytest.mark.parametrize("written", [b'{"state": ', b"[]", b"{}", b"\xff"])
def test_a_manifest_that_is_none_is_told(the_line: Line, job: str, written: bytes) -> None:
    key = layout.manifest_key(UUID(job))
    whole = the_line.store.get(key)
    path(the_line, key).write_bytes(written)
    (fault,) = look(the_line, job).faults
    assert (fault.key, "damaged" in fault.problem) == (key, True)
    with pytest.raises(DamagedError, match=f"{key} is damaged: it is no manifest.*Remove it"):
        delivered(the_line.store, the_line.job(job))
    path(the_line, key).unlink()
    assert delivered(the_line.store, the_line.job(job)) is None
    path(the_line, key).write_bytes(whole)
    assert delivered(the_line.store, the_line.job(job)) == json.loads(whole)


def change(the_line: Line, statement: str) -> None:
    with the_line.ledger.transaction() as tx:
        tx.connection.execute(statement)


def test_a_block_that_is_gone_from_the_ledger_is_missed(the_line: Line, job: str) -> None:
    document = the_line.documents(job)["b.md"]
    change(the_line, f"DELETE FROM blocks WHERE document_id = '{document.document_id}'")
    assert {(f.key, f.problem) for f in look(the_line, job).faults} == {
        (document.document_id, "its blocks for pt have 0 segments, and it was cut to 2"),
        (document.document_id, "its blocks for pt have 0 segments to translate, its output 2"),
    }


def test_a_block_that_is_done_has_a_translation(the_line: Line, job: str) -> None:
    block = the_line.blocks(job)[0]
    change(the_line, f"UPDATE blocks SET result = NULL WHERE block_id = '{block.block_id}'")
    assert [(f.key, "without a translation" in f.problem) for f in look(the_line, job).faults] == [
        (str(block.block_id), True)
    ]


def test_what_nobody_translated_is_no_fault(the_line: Line) -> None:
    """A document in the target language, one without text, one that is bad, one that was replaced, one released."""
    portuguese = "O porto esteve fechado durante todo o inverno, e os barcos ficaram na praia.\n"
    the_line.put(FILES | {"pt.txt": portuguese, "numbers.txt": "1 2 3\n", "bad.docx": "x", "changed.txt": "Old.\n"})
    job = the_line.admit()
    line.ingest(job)
    the_line.put({"changed.txt": "The ferry to the island leaves at six in the evening.\n"})
    shards = the_line.prepare(job)
    (block,) = (b for b in the_line.blocks(job) if b.path == "a.txt")
    with the_line.ledger.transaction() as tx:
        ids, reasons = [block.block_id], ["a test"]
        tx.run("quarantine", job_id=UUID(job), block_ids=ids, reasons=reasons, error_class="model")
    the_line.infer(job, shards)
    assert the_line.deliver(job) == "PARTIAL"
    assert "CANCELED" in {d.state for d in the_line.all_documents(job)}
    assert [b.path for b in the_line.blocks(job) if b.batch is None] == ["pt.txt"]
    assert the_line.documents(job)["numbers.txt"].segments == 0
    assert look(the_line, job).faults == []
    assert decisions.release(the_line.ledger, the_line.job(job), [block.block_id], "ana") == 1
    assert the_line.admit() == job
    the_line.infer(job, the_line.prepare(job))
    the_line.deliver(job)
    (block,) = (b for b in the_line.blocks(job) if b.path == "a.txt")
    assert (block.state, block.result) == ("COMPLETED", None)
    assert look(the_line, job).faults == []


def test_a_document_whose_blocks_are_lost_is_not_done(the_line: Line) -> None:
    the_line.put(FILES)
    job = the_line.admit(source="en")
    the_line.infer(job, the_line.prepare(job))
    line.gate_translations(job)
    line.assemble(job)
    line.gate_output(job)
    document = the_line.documents(job)["b.md"]
    change(the_line, f"DELETE FROM blocks WHERE document_id = '{document.document_id}'")
    assert line.publish(job).state == "PARTIAL"
    (state, reason) = next((d.state, d.reason) for p, d in the_line.documents(job).items() if p == "b.md")
    assert state == "ERROR"
    assert reason == "the ledger has lost its blocks for pt: send it under another key"


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
