"""A document in three languages on the real line: each part from its own language, what needs nothing passes."""

from __future__ import annotations

from uuid import UUID

import pytest

from fixtures.line import Line
from tradu import tables
from tradu.cli import report
from tradu.cli.output import Output
from tradu.ledger.rows import HistoryRow

EN = "The harbour was closed all winter, and the fishermen of the village had to look for other work."
PT = "O conselho decidiu ontem que a escola não vai fechar durante as obras na ponte velha."
ES = "El lunes el alcalde explicó a los vecinos que la biblioteca abrirá también los domingos por la mañana."


def test_a_mixed_document(the_line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    the_line.put(
        {"mixed.txt": "\n\n".join((EN, EN.replace("winter", "summer"), PT, ES, EN.replace("winter", "spring")))}
    )
    job, state = the_line.run(source="auto", targets=["pt"])
    assert state == "COMPLETED"
    blocks = the_line.blocks(job)
    assert [b.source for b in blocks] == ["en", "pt", "es", "en"]
    made = the_line.output(job, "mixed.txt").decode().split("\n\n")
    assert made[2] == PT, "already in the target language"
    assert "porto" in made[0].lower()
    assert "alcalde" not in made[3].lower() and "biblioteca" in made[3].lower()  # noqa: PT018
    passed = next(b for b in blocks if b.source == "pt")
    with the_line.ledger.transaction() as tx:
        steps = tx.rows("history_of", HistoryRow, job_id=UUID(job), entity_ids=[str(passed.block_id)])
    assert [(s.to_state, s.reason) for s in steps][-1] == ("COMPLETED", "already in the target language")
    spanish = next(b for b in blocks if b.source == "es")
    assert spanish.result
    assert set(tables.read(the_line.store, spanish.result).column("source_language").to_pylist()) == {"es"}
    report.show(report.load(the_line.ledger, the_line.job(job)), Output(), the_line.store.uri)
    assert "languages: 2 from en to pt; 1 from es to pt; 1 already in pt" in capsys.readouterr().out


def test_a_named_language_is_that_of_the_whole_document(the_line: Line) -> None:
    the_line.put({"mixed.txt": f"{EN}\n\n{ES}"})
    job = the_line.admit(source="en")
    the_line.prepare(job)
    assert [b.source for b in the_line.blocks(job)] == ["en"]
