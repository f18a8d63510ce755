"""`tradu result` on real jobs: any block, a page of them, and documents as they stand while the job still works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from fixtures.line import Line
from tradu.cli.main import app
from tradu.cluster.batch import run_batch

FILES = {
    "a.txt": "The library opens at nine in the morning.\n",
    "notes/b.md": "# Hours\n\nThe harbour was closed because of the storm.\n",
}
SENTENCE = "The library opens at nine in the morning on day number {}."


def asked(*arguments: str) -> tuple[int, Any]:
    result = CliRunner().invoke(app, ["result", *arguments, "--json"], catch_exceptions=False)
    return result.exit_code, json.loads(result.stdout) if result.stdout else result.stderr


def long_document(paragraphs: int) -> str:
    return "".join(f"{' '.join(SENTENCE.format(n * 20 + i) for i in range(20))}\n\n" for n in range(paragraphs))


def test_blocks_are_paged_and_read_by_number(the_line: Line) -> None:
    the_line.put(FILES | {"c.txt": long_document(6)})
    job, state = the_line.run(source="en")
    assert state == "COMPLETED"
    code, whole = asked(job, "--limit", "1000")
    assert (code, whole["next"]) == (0, None)
    assert all(s["translation"] for b in whole["blocks"] for s in b["segments"])
    paged, after = [], []
    while True:
        _, page = asked(job, "--limit", "2", *after)
        paged += page["blocks"]
        if page["next"] is None:
            break
        after = ["--after", page["next"]]
    assert paged == whole["blocks"]
    assert len(paged) > 5
    for block in whole["blocks"]:
        code, one = asked(job, "--document", block["path"], "--block", str(block["number"]))
        assert (code, one["blocks"]) == (0, [block])
    _, by_hash = asked(job, "--document", whole["blocks"][0]["document_id"][:9], "--block", "0")
    assert by_hash["blocks"][0]["number"] == 0


def test_what_is_not_there_is_refused(the_line: Line) -> None:
    the_line.put(FILES)
    job = the_line.admit(source="en")
    the_line.prepare(job)
    for arguments, said in (
        (["--target", "fr"], "is not translated into fr"),
        (["--document", "x.txt"], "0 documents"),
        (["--block", "1"], "--block wants --document"),
        (["--document", "a.txt", "--block", "7"], "there is no block 7"),
        (["--after", "nowhere"], "is no place"),
    ):
        code, message = asked(job, *arguments)
        assert code == 2
        assert said in message


def test_a_job_at_work_gives_what_is_finished(the_line: Line, tmp_path: Path) -> None:
    text = long_document(80)
    the_line.put({"c.txt": text})
    job = the_line.admit(source="en")
    out = tmp_path / "so-far"
    assert asked(job, "--partial", "--output", str(out)) == (1, {"folder": str(out), "files": []})
    the_line.prepare(job)
    batches = sorted({b.batch for b in the_line.blocks(job) if b.batch is not None})
    assert len(batches) > 1
    run_batch(job, batches[0])  # the others wait
    code, first = asked(job, "--partial", "--output", str(out))
    (file,) = first["files"]
    assert code == 1
    assert 0 < file["translated"] == file["unjudged"] < file["segments"]
    written = (out / "pt" / "c.txt").read_text()
    assert "biblioteca" in written
    assert SENTENCE.format(1_599) in written, "the source stands where there is no translation"
    assert written.count("\n") == text.count("\n")
    named = [json.loads(line) for line in (out / "untranslated.jsonl").read_text().splitlines()]
    waiting = {b.number for b in the_line.blocks(job) if b.state == "PENDING"}
    assert {line["block"] for line in named} == waiting
    _, strict = asked(job)
    assert not any(s["translation"] for b in strict["blocks"] for s in b["segments"]), "the gate has judged nothing yet"
    _, loose = asked(job, "--partial")
    assert all(s["translation"] for s in loose["blocks"][0]["segments"])
    the_line.infer(job, [0])
    assert the_line.deliver(job) == "COMPLETED"
    code, last = asked(job, "--partial", "--output", str(out))
    assert (code, last["files"][0]["delivered"]) == (0, True)
    assert (out / "pt" / "c.txt").read_bytes() == the_line.output(job, "c.txt")
    assert (out / "untranslated.jsonl").read_bytes() == b""
