"""History and incidents, which nobody can mend, hold no names and no text; people are told what they need elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from fixtures.line import Line
from tradu import layout, line
from tradu.cli.main import app
from tradu.cluster import batch, segments
from tradu.errors import DataError, GateStopError
from tradu.inference import pool
from tradu.inference.model import Engine, Model
from tradu.inference.pool import EnginePool
from tradu.ledger import decisions
from tradu.ledger.rows import Block
from tradu.partitioning import partition
from tradu.settings import get_settings
from tradu.watchdog import orphans

SECRETS = ("schmidt", "falcon", "harbour")
"""A person, who stands in file names and decides; a project, in the header of a table; a word of a text."""
TEXT = "The harbour was closed because of the storm.\n"
GOOD = {f"settlement-schmidt-{n}.txt": f"The harbour of {n} towns was closed all winter.\n" for n in range(2, 14)}


class Quoting:
    """An engine whose exception quotes what it was given, as those of libraries do."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def translate(self, texts: Sequence[str]) -> list[str]:
        """Always fails."""
        raise ValueError(f"can't do {list(texts)!r}")

    def close(self) -> None:
        """Holds nothing."""


@pytest.fixture
def quoting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on every engine is such a one, for what runs in this process."""

    def switch_on() -> None:
        load: Callable[[Model], Engine] = Quoting
        monkeypatch.setattr(pool, "_load", load)
        monkeypatch.setattr(segments, "_engines", EnginePool())

    return switch_on


def written(the_line: Line) -> list[str]:
    """Every row of what nobody can mend."""
    with the_line.ledger.transaction() as tx:
        rows = tx.connection.execute(
            "SELECT row_to_json(h)::text FROM history h UNION ALL SELECT row_to_json(i)::text FROM incidents i"
        ).fetchall()
    return [row for (row,) in rows]


def telling(the_line: Line) -> list[str]:
    return [row for row in written(the_line) if any(secret in row.casefold() for secret in SECRETS)]


def said(*words: str) -> str:
    """What a command prints."""
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code in (0, 1), done.output
    return done.output


def in_error(the_line: Line, job: str) -> list[Block]:
    return [b for b in the_line.blocks(job) if b.state == "ERROR"]


def test_files_that_can_not_be_taken_in(the_line: Line) -> None:
    table = "Project Falcon,notes\n" + "".join(f"{n},{TEXT}" for n in range(5))
    the_line.put(
        GOOD | {"dismissal-schmidt.docx": "x", "odd.schmidt": TEXT, "falcon.csv": table, "empty-schmidt.md": ""}
    )
    job, state = the_line.run(source="en", options={"columns": ["price"]})
    assert state == "PARTIAL"
    assert telling(the_line) == []
    told = said("job", job)
    assert "dismissal-schmidt.docx: a Word document can't be translated yet" in told
    assert "there is no column 'price'; there are: Project Falcon, notes" in told
    assert "Project Falcon" in said("quarantine", "list", job)


def test_a_document_that_turns_out_to_be_malformed(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    the_line.put(GOOD)
    job = the_line.admit(source="en")
    line.ingest(job)
    line.gate_documents(job)
    cut = partition.document_blocks

    def broken(document: object, *args: object) -> object:
        if "schmidt-7" in document.paths[0]:  # type: ignore[attr-defined]
            raise DataError("Mrs Schmidt's line is not closed")
        return cut(document, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(partition, "document_blocks", broken)
    line.partition(job)
    line.gate_blocks(job)
    the_line.infer(job, line.waiting_shards(job))
    assert the_line.deliver(job) == "PARTIAL"
    assert telling(the_line) == []
    assert "Mrs Schmidt's line is not closed" in said("job", job)


def test_an_output_that_can_not_be_written(the_line: Line) -> None:
    the_line.put({"a.txt": TEXT, "b.txt": "The actions of the nation are in the constitution.\n"})
    job, state = the_line.run(source="en", options={"encoding": "koi8-r"})
    assert state == "PARTIAL"
    rows = written(the_line)
    assert any('"pt: refused"' in row for row in rows)
    assert not any("written in" in row for row in rows), "it would quote a character of the document"
    assert "can't be written in koi8-r" in said("job", job)


def test_an_engine_that_quotes_its_input(
    the_line: Line, quoting: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    the_line.put({"a.txt": TEXT})
    job = the_line.admit(source="en")
    the_line.prepare(job)
    quoting()
    monkeypatch.setenv("TRADU_CIRCUIT_FAILURES", "1")
    (number,) = {b.batch for b in the_line.blocks(job) if b.batch is not None}
    batch.run_batch(job, number)
    rows = written(the_line)
    assert any("circuit_opened" in row for row in rows)
    with the_line.ledger.transaction() as tx:
        tx.connection.execute("DELETE FROM circuits")
        tx.connection.execute("UPDATE blocks SET not_before = NULL")
    monkeypatch.setenv("TRADU_CIRCUIT_FAILURES", "1000")
    monkeypatch.setenv("TRADU_MAX_ATTEMPTS", "1")
    batch.run_batch(job, number)
    (block,) = in_error(the_line, job)
    assert telling(the_line) == []
    shown = said("quarantine", "show", str(block.block_id))
    assert "ValueError; the worker's log says more" in shown
    assert TEXT.strip() in shown
    assert the_line.deliver(job) == "ERROR"
    decisions.release(the_line.ledger, the_line.job(job), [block.block_id], "Maria Schmidt")
    assert the_line.admit(source="en") == job
    the_line.infer(job, the_line.prepare(job))
    assert the_line.deliver(job) == "COMPLETED"
    assert telling(the_line) == []
    assert "Maria Schmidt" in said("quarantine", "show", str(block.block_id))
    assert "released as it is by a person" in said("trace", str(block.block_id))


def test_a_gate_that_a_person_has_answered(the_line: Line) -> None:
    the_line.put({"a.txt": TEXT} | {f"schmidt-{n}.docx": f"{n}" for n in range(24)})
    job = the_line.admit(source="en")
    line.ingest(job)
    with pytest.raises(GateStopError):
        line.gate_documents(job)
    line.decide(job, "documents", "accept", "Maria Schmidt")
    assert the_line.admit(source="en") == job
    the_line.infer(job, the_line.prepare(job))
    assert the_line.deliver(job) == "PARTIAL"
    assert telling(the_line) == []
    with the_line.ledger.transaction() as tx:
        assert tx.connection.execute("SELECT decided_by FROM decisions").fetchall() == [("Maria Schmidt",)]


def test_an_object_that_no_row_names(the_line: Line) -> None:
    the_line.put(GOOD)
    job, _ = the_line.run(source="en")
    root = Path(the_line.store.root)
    (root / layout.output_key(UUID(job), "pt", "falcon-schmidt.txt")).write_bytes(b"x")
    for file in root.rglob("*"):
        if file.is_file():
            os.utime(file, (time.time() - 2 * 86_400,) * 2)
    assert orphans.look(the_line.ledger, the_line.store, get_settings())["orphans"] == 1
    assert any("object_orphaned" in row for row in written(the_line))
    assert telling(the_line) == []


def test_what_the_ledger_is_told_of_exceptions_that_are_not_ours() -> None:
    assert batch._said(KeyError("Mrs Schmidt")) == "KeyError; the worker's log says more"
    lost = FileNotFoundError(2, "No such file or directory", "/store/blocks/1/part-00000.parquet")
    assert batch._said(lost) == "FileNotFoundError: No such file or directory: /store/blocks/1/part-00000.parquet"
    assert batch._said(OSError("Mrs Schmidt")) == "OSError; the worker's log says more"
    assert batch._said(DataError("line 3: a quote is never closed")) == "line 3: a quote is never closed"
