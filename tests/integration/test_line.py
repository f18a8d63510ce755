"""Documents through the whole line on a real ledger, store and Dask cluster with real engines."""

from __future__ import annotations

import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pyarrow.parquet as pq
import pytest

from fixtures.line import Line
from tradu import layout, line
from tradu.assembly.pages import find_document
from tradu.cluster import dispatch
from tradu.cluster.batch import run_batch
from tradu.errors import GateStopError, RequestError
from tradu.ledger import objects
from tradu.partitioning import plan
from tradu.settings import get_settings
from tradu.verify import verify

GUIDE = """# The observatory

The telescope was built in 1962 and weighs 4.5 tonnes. Visitors may use it on **Friday evenings**.

- Bring warm clothes, because the dome is not heated.
- Read the rules at <https://example.org/rules> before you come.

```python
print("not for translation")
```
"""
TICKET = '{"id": 7, "title": "The pump makes a strange noise", "state": "open"}\n'


def test_a_folder_comes_out_as_the_same_tree_in_portuguese(the_line: Line) -> None:
    the_line.put({"docs/guide.md": GUIDE, "docs/deep/ticket.jsonl": TICKET})
    job, state = the_line.run()
    assert state == "COMPLETED", the_line.errors(job)
    guide = the_line.output(job, "docs/guide.md").decode()
    assert "observatório" in guide.lower()
    assert 'print("not for translation")' in guide
    assert "<https://example.org/rules>" in guide
    assert guide.count("**") == 2
    assert json.loads(the_line.output(job, "docs/deep/ticket.jsonl"))["id"] == 7
    manifest = json.loads(the_line.store.get(layout.manifest_key(UUID(job))))
    assert manifest["state"] == "COMPLETED"
    assert manifest["cost"] > 0
    for document in manifest["documents"]:
        for output in document["outputs"]:
            rows = pq.read_table(the_line.store.path(output["provenance"])).to_pylist()
            assert len(rows) == output["segments"] == output["translated"]
            assert all(r["model"] and r["tier"] and r["run"] for r in rows)


def test_two_languages_share_one_partition(the_line: Line) -> None:
    the_line.put({"note.txt": "The train leaves at 7:45 tomorrow morning. Please be at the station in time.\n"})
    job, state = the_line.run(targets=["pt", "en"])
    assert state == "COMPLETED", the_line.errors(job)
    assert the_line.output(job, "note.txt", "en") == (the_line.folder / "landing" / "note.txt").read_bytes()
    passed = [b for b in the_line.blocks(job) if b.target == "en"]
    assert {b.reason for b in passed} == {"already in the target language"}


def test_bad_documents_are_reported_and_the_rest_goes_on(the_line: Line) -> None:
    the_line.put(
        {
            "good.txt": "The harbour was closed because of the storm.\n",
            "corrupt.jsonl": '{"title": "The pump makes a noise"}\n{"title": \n',
            "empty.md": "",
            "numbers.csv": "a,b\n1,2\n3,4\n",
            "picture.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        }
    )
    job, state = the_line.run()
    assert state == "PARTIAL"
    documents = the_line.documents(job)
    assert documents["good.txt"].state == "COMPLETED"
    assert documents["numbers.csv"].state == "COMPLETED"
    assert documents["numbers.csv"].reason == "nothing to translate: copied unchanged"
    assert the_line.output(job, "numbers.csv") == b"a,b\n1,2\n3,4\n"
    for name, why in (("corrupt.jsonl", "line 2"), ("empty.md", "empty"), ("picture.png", "")):
        assert documents[name].state == "ERROR"
        assert why in documents[name].reason
    report = the_line.store.get(layout.report_key(UUID(job))).decode()
    assert all(name in report for name in ("corrupt.jsonl", "empty.md", "picture.png"))


def test_names_that_no_output_could_have_are_reported(the_line: Line) -> None:
    the_line.put(
        {"good.txt": "The harbour was closed because of the storm.\n", "back\\slash.txt": "The pump is loud.\n"}
    )
    strange = os.fsencode(the_line.folder / "landing") + b"/caf\xe9.txt"
    with open(strange, "wb") as stream:
        stream.write(b"The coffee house is closed.\n")
    job, state = the_line.run(source="en")
    assert state == "PARTIAL"
    ends = {path: (d.state, d.reason) for path, d in the_line.documents(job).items()}
    assert ends["good.txt"][0] == "COMPLETED"
    assert "rename it" in ends["back\\slash.txt"][1]
    assert "not UTF-8" in ends["caf?.txt"][1]


def test_a_language_without_a_model_is_quarantined_with_what_to_do(the_line: Line) -> None:
    the_line.put({"a.txt": "The harbour was closed because of the storm.\n"})
    with pytest.raises(RequestError, match="zu"):
        the_line.admit(source="en", targets=["zu"])
    job, state = the_line.run(key="auto", targets=["zu"])
    assert state == "ERROR"
    (error,) = the_line.errors(job)
    assert "zu" in error.reason


def test_the_same_sentence_is_translated_once_across_documents_and_jobs(the_line: Line) -> None:
    text = "The library opens at nine and closes at five.\n"
    the_line.put({"one.txt": text})
    first, _ = the_line.run("first")
    the_line.put({"two.md": "# Hours\n\n" + text})
    job, _ = the_line.run("second", documents=[f"{get_settings().landing}/two.md"])
    (block,) = the_line.blocks(job)
    rows = pq.read_table(the_line.store.path(block.result)).to_pylist()
    assert {r["source"]: r["known"] for r in rows}[text.strip()] is True
    assert {r["source"]: r["known"] for r in rows}["Hours"] is False
    (made,) = pq.read_table(the_line.store.path(the_line.blocks(first)[0].result)).to_pylist()
    (again,) = (r for r in rows if r["known"])
    evidence = ("translation", "log_probability", "lowest_log_probability", "score")
    assert [again[name] for name in evidence] == [made[name] for name in evidence]
    assert made["log_probability"] < 0 < made["score"] < 1


def test_known_translations_that_can_not_be_read_are_made_again(the_line: Line) -> None:
    the_line.put({"one.txt": "The library opens at nine and closes at five.\n"})
    first, _ = the_line.run("first")
    (block,) = the_line.blocks(first)
    for damage in (b"not Parquet", b""):
        the_line.store.put(block.result, damage)
        job, state = the_line.run(f"after {damage!r}")
        assert state == "COMPLETED"
        assert the_line.output(job, "one.txt") == the_line.output(first, "one.txt")


def test_two_live_attempts_at_one_shard_do_no_harm(the_line: Line) -> None:
    the_line.put({"a.txt": "\n\n".join(f"Ship number {n} reached the harbour in the evening." for n in range(400))})
    job = the_line.admit()
    (shard,) = the_line.prepare(job)
    batches = sorted({b.batch for b in the_line.blocks(job)})
    with ThreadPoolExecutor(2) as pool:
        attempts = [pool.submit(lambda: [run_batch(job, b) for b in batches]) for _ in range(2)]
        the_line.infer(job, [shard, shard])
        counts = [sum(report.accepted for report in a.result()) for a in attempts]
    assert the_line.deliver(job) == "COMPLETED", the_line.errors(job)
    assert all(b.attempt == 1 for b in the_line.blocks(job)), "nothing was translated twice"
    assert sum(counts) <= len(the_line.blocks(job))


def test_a_submission_that_lives_is_adopted(the_line: Line) -> None:
    the_line.put({"a.txt": "\n\n".join(f"Ship number {n} reached the harbour in the evening." for n in range(400))})
    job = the_line.admit()
    (shard,) = the_line.prepare(job)
    first = dispatch.submit(UUID(job), shard, the_line.ledger, get_settings())
    second = dispatch.submit(UUID(job), shard, the_line.ledger, get_settings())
    assert (first.epoch, second.epoch, second.adopted) == (1, 1, True)
    the_line.infer(job, [shard])
    assert dispatch.submit(UUID(job), shard, the_line.ledger, get_settings()).batches == 0


def test_stages_run_twice_change_nothing(the_line: Line) -> None:
    the_line.put({"guide.md": GUIDE})
    job = the_line.admit()
    shards = the_line.prepare(job)
    before = {b.block_id for b in the_line.blocks(job)}
    assert the_line.prepare(job) == shards
    assert {b.block_id for b in the_line.blocks(job)} == before
    the_line.infer(job, shards)
    line.gate_translations(job)
    line.gate_translations(job)
    line.assemble(job)
    line.assemble(job)
    line.gate_output(job)
    done = line.publish(job)
    assert (done.state, done.documents) == ("COMPLETED", {"COMPLETED": 1})
    assert line.publish(job) == done, "an attempt that was lost after its work is repeated"


def test_a_key_names_one_request(the_line: Line) -> None:
    the_line.put({"a.txt": "The harbour was closed.\n"})
    job = the_line.admit()
    assert the_line.admit() == job
    with pytest.raises(RequestError, match="whose documents are not these"):
        the_line.admit(documents=[f"{get_settings().landing}/b.txt"])
    with pytest.raises(RequestError, match="whose targets are not these"):
        the_line.admit(targets=["es"])


def test_a_mistake_in_the_policy_refuses_new_jobs_and_ends_none_that_waits(the_line: Line) -> None:
    the_line.put({"guide.md": GUIDE})
    job = the_line.admit("waits")
    (the_line.folder / "admission.yaml").write_text("most_runing: 20\n")
    assert the_line.admit("waits") == job
    with pytest.raises(RequestError, match="most_runing"):
        the_line.admit("new")


def test_a_job_that_was_cut_keeps_its_documents_when_it_runs_again(the_line: Line) -> None:
    the_line.put({"guide.md": GUIDE})
    job = the_line.admit()
    shards = the_line.prepare(job)
    blocks, part = the_line.blocks(job), the_line.store.get(layout.part_key(UUID(job), 0))
    the_line.put({"a new one.txt": "O porto foi fechado por causa da tempestade.\n"})
    assert the_line.prepare(job) == shards
    assert set(the_line.documents(job)) == {"guide.md"}
    assert the_line.blocks(job) == blocks
    assert the_line.store.get(layout.part_key(UUID(job), 0)) == part


def lost(*_: object, **__: object) -> list[int]:
    """What partition does last of all is not reached."""
    raise OSError("lost here")


def test_a_second_partition_cuts_the_same_parts_though_a_document_is_malformed(
    the_line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADU_MAX_BAD_SHARE", "0.6")
    lines = "".join(json.dumps({"title": f"Ship number {n} reached the harbour."}) + "\n" for n in range(500))
    the_line.put({"a.txt": "The harbour was closed.\n", "b.jsonl": lines + "{\n", "c.txt": "The library is open.\n"})
    job = the_line.admit(source="en")
    line.ingest(job)
    line.gate_documents(job)

    def parts() -> dict[str, bytes]:
        return {key: the_line.store.get(key) for key, _ in the_line.store.keys(f"blocks/{job}")}

    with monkeypatch.context() as patched:
        patched.setattr(plan, "shards", lost)
        with pytest.raises(OSError, match="lost here"):
            line.partition(job)
    first = parts()
    assert len(first) > 2, "the malformed document ends a part"
    line.partition(job)
    assert parts() == first
    assert the_line.documents(job)["b.jsonl"].state == "ERROR"
    line.gate_blocks(job)
    the_line.infer(job, line.waiting_shards(job))
    assert the_line.deliver(job) == "PARTIAL"
    assert {path: d.state for path, d in the_line.documents(job).items()} == {
        "a.txt": "COMPLETED",
        "b.jsonl": "ERROR",
        "c.txt": "COMPLETED",
    }


def test_a_job_that_was_cut_in_another_way_is_cut_anew(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    the_line.put({"a.txt": "".join(f"The ship number {n} came home.\n\n" for n in range(20))})
    job = cut_in_small_parts(the_line, monkeypatch)
    before = the_line.blocks(job)
    monkeypatch.setenv("TRADU_MAX_BLOCK_CHARS", "100")
    the_line.infer(job, the_line.prepare(job))
    assert 3 < len(the_line.blocks(job)) < len(before), "their numbers are in old parts that are still in the store"
    assert sorted(o.key for o in objects.of_job(the_line.ledger, UUID(job)) if "/part-" in o.key) == [
        layout.part_key(UUID(job), 0)
    ]
    assert the_line.deliver(job) == "COMPLETED"
    assert the_line.output(job, "a.txt").count(b"\n\n") == 20
    assert verify(the_line.job(job), the_line.ledger, the_line.store).faults == []
    assert the_line.store.exists(layout.part_key(UUID(job), 3)), "an orphan: who has lost its lease removes nothing"


def test_no_part_passes_its_gate_unseen(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    the_line.put({"a.txt": "".join(f"The ship number {n} came home.\n\n" for n in range(20))})
    job = the_line.admit(source="en")
    line.ingest(job)
    monkeypatch.setattr("tradu.partitioning.partition.GROUPS_PER_PART", 1)
    monkeypatch.setenv("TRADU_MAX_BLOCK_CHARS", "100")
    monkeypatch.setenv("TRADU_BATCH_CHARS", "200")
    line.partition(job)
    assert the_line.store.exists(layout.index_key(UUID(job), 2))
    the_line.store.remove(layout.index_key(UUID(job), 1))
    with pytest.raises(FileNotFoundError):
        line.gate_blocks(job)


def test_parts_whose_blocks_were_worked_on_are_not_cut_anew(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    the_line.put({"a.txt": "".join(f"The ship number {n} came home.\n\n" for n in range(20))})
    job = cut_in_small_parts(the_line, monkeypatch)
    with the_line.ledger.transaction() as tx:
        tx.connection.execute("UPDATE blocks SET attempt = 1 WHERE number = 3 AND job_id = %s", (job,))
    blocks, part = the_line.blocks(job), the_line.store.get(layout.part_key(UUID(job), 0))
    with pytest.raises(RequestError, match=r"other settings.*tradu cancel.*tradu translate --key"):
        line.partition(job)
    assert (the_line.blocks(job), the_line.store.get(layout.part_key(UUID(job), 0))) == (blocks, part)


def cut_in_small_parts(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> str:
    """A job whose partition was lost when its parts were written, with settings that are others afterwards."""
    job = the_line.admit(source="en")
    line.ingest(job)
    with monkeypatch.context() as patched:
        patched.setattr(plan, "shards", lost)
        patched.setattr("tradu.partitioning.partition.GROUPS_PER_PART", 1)
        patched.setenv("TRADU_MAX_BLOCK_CHARS", "60")
        patched.setenv("TRADU_BATCH_CHARS", "120")
        with pytest.raises(OSError, match="lost here"):
            line.partition(job)
    assert the_line.store.exists(layout.part_key(UUID(job), 3))
    return job


def test_a_second_publish_says_how_the_first_ended(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_MAX_BAD_SHARE", "0.6")
    the_line.put({"a.txt": "The harbour was closed.\n", "b.jsonl": '{"title": \n'})
    job = the_line.admit(source="en")
    the_line.infer(job, the_line.prepare(job))
    line.gate_translations(job)
    line.assemble(job)
    line.gate_output(job)
    first, manifest = line.publish(job), the_line.store.get(layout.manifest_key(UUID(job)))
    assert first.state == "PARTIAL"
    assert line.publish(job) == first
    assert the_line.store.get(layout.manifest_key(UUID(job))) == manifest


def test_a_gate_stops_a_run_of_mostly_bad_input(the_line: Line) -> None:
    the_line.put({f"{n}.bin": b"\0\1\2" * 50 + bytes([n]) for n in range(25)})
    job = the_line.admit()
    line.ingest(job)
    with pytest.raises(GateStopError, match="25"):
        line.gate_documents(job)
    assert the_line.job(job).state == "ERROR"


def test_a_job_that_the_gate_on_documents_stopped_goes_on_when_its_files_are_mended(the_line: Line) -> None:
    good = {f"good-{n}.txt": f"Ship number {n} reached the harbour.\n" for n in range(14)}
    bad = {f"bad-{n}.txt": b"\0\1\2" * 50 + bytes([n]) for n in range(8)}
    the_line.put(good | bad)
    job = the_line.admit(source="en")
    line.ingest(job)
    with pytest.raises(GateStopError):
        line.gate_documents(job)
    (the_line.folder / "landing" / "bad-0.txt").unlink()
    the_line.put({f"bad-{n}.txt": f"The tower number {n} is open.\n" for n in range(1, 8)})
    assert the_line.admit(source="en") == job
    the_line.infer(job, the_line.prepare(job))
    assert the_line.deliver(job) == "COMPLETED"
    ends = Counter(d.state for d in the_line.all_documents(job))
    assert ends == {"COMPLETED": 21, "CANCELED": 8}
    assert find_document(the_line.ledger, the_line.job(job), "bad-1.txt").state == "COMPLETED"
    assert verify(the_line.job(job), the_line.ledger, the_line.store).faults == []


def test_a_file_that_is_as_it_was_again_is_taken_in_again(the_line: Line) -> None:
    first, second = {"a.txt": "The harbour was closed.\n"}, {"a.txt": "The library is open.\n"}
    the_line.put(first)
    job = the_line.admit(source="en")
    for content in (first, second, first):
        the_line.put(content)
        line.ingest(job)
        assert [d.state for d in the_line.all_documents(job)].count("REGISTERED") == 1
    (the_line.folder / "landing" / "a.txt").unlink()
    the_line.put({"b.txt": "The mill is new.\n"})
    line.ingest(job)
    states = {d.paths[0]: d.state for d in the_line.all_documents(job) if d.state != "CANCELED"}
    assert states == {"a.txt": "REGISTERED", "b.txt": "REGISTERED"}, "a good one whose file is gone stays"


@pytest.mark.parametrize(("edited", "left"), [("b.txt", "a.txt"), ("a.txt", "b.txt")])
def test_an_edit_of_one_of_two_equal_files_is_what_is_delivered(the_line: Line, edited: str, left: str) -> None:
    the_line.put({"a.txt": "The harbour was closed.\n", "b.txt": "The harbour was closed.\n"})
    job = the_line.admit(source="en")
    line.ingest(job)
    the_line.put({edited: "The library is open.\n"})
    line.ingest(job)
    assert {tuple(d.paths): d.state for d in the_line.all_documents(job)} == {
        (edited,): "REGISTERED",
        (left,): "REGISTERED",
    }
    the_line.infer(job, the_line.prepare(job))
    assert the_line.deliver(job) == "COMPLETED"
    assert b"biblioteca" in the_line.output(job, edited).lower()
    assert b"porto" in the_line.output(job, left).lower()


def test_documents_outside_of_the_allowed_prefixes_are_refused(the_line: Line) -> None:
    secret = the_line.folder / "secret.txt"
    secret.write_text("This must not be read by any job.")
    (the_line.folder / "landing" / "link.txt").symlink_to(secret)
    for document in (str(secret), f"{get_settings().landing}/../secret.txt", f"{get_settings().landing}/link.txt"):
        job = the_line.admit(key=document, documents=[document])
        with pytest.raises(RequestError, match="outside"):
            line.ingest(job)
