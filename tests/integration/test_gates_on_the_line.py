"""Planted faults on the whole line: each is caught by its gate with its reason, and what is good goes on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from uuid import UUID

import pytest

from fixtures.line import Line
from tradu import layout, line
from tradu.cluster import batch, segments
from tradu.errors import GateStopError
from tradu.inference.pool import EnginePool

GOOD = "O museu da cidade fica aberto todos os dias, menos na segunda-feira."
PLANTED = {
    "The first hall shows maps of the old harbour and its three bridges.": ("", "empty"),
    "The second hall has 14 paintings, and 3 of them were stolen in 1987.": (
        "A segunda sala tem 15 pinturas, e 3 delas foram roubadas em 1987.", "numbers"),
    "The third hall is described at https://example.org/hall for every visitor.": (
        "A terceira sala é descrita na internet para todos os visitantes.", "codes"),
    "The fourth hall holds the instruments of the former observatory of the town.": (
        "A quarta sala guarda os *instruments do antigo *observatory da cidade, para todos.", "unknown_words"),
    "The fifth hall is closed because the roof has to be repaired this winter.": (
        "The fifth hall is closed because the roof has to be repaired this winter.", "copied"),
    "The sixth hall was built by a rich merchant who never saw it finished.": (
        "A sexta sala foi " + "construída por um rico " * 12, "loop"),
    "The seventh hall has a long description that tells about every piece, about its maker, about the year "
    "in which it came to us, and about the people who gave it away after the war.": ("A sétima sala tem.", "length"),
    "The eighth hall tells the story of the families who lived in this street for centuries.": (
        "Die achte Halle erzählt die Geschichte der Familien, die lange in dieser Straße lebten.", "language"),
    "The ninth hall can be rented in the evening, and the price depends on the number of guests, on the day of the "
    "week, and on the food that you order.": (
        "A nona sala pode ser alugada à noite, e o preço depende do número de hóspedes, do dia da", "cut_off"),
}  # fmt: skip


class PlantedEngine:
    """A bad model: answers with the fault that is planted for a sentence, and well otherwise."""

    def translate(self, texts: Sequence[str]) -> list[str]:
        return [self._answer(text) for text in texts]

    def _answer(self, text: str) -> str:
        if text in [bad for bad, _ in PLANTED.values()]:  # the second model of a route through another language
            return text
        if "town is open" in text:
            return GOOD
        return next((bad for source, (bad, _) in PLANTED.items() if text[:12] == source[:12]), "")

    def close(self) -> None:
        pass


@pytest.fixture
def bad_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's code in this process, with the bad model in the place of every other."""
    monkeypatch.setattr("tradu.inference.pool._load", lambda model: PlantedEngine())
    monkeypatch.setattr(segments, "_engines", EnginePool())
    monkeypatch.setenv("TRADU_MAX_BLOCK_CHARS", "250")


def translate_here(the_line: Line, job: str) -> None:
    for number in sorted({b.batch for b in the_line.blocks(job) if b.batch is not None}):
        batch.run_batch(job, number)


def test_every_fault_of_a_translation_is_caught_and_the_rest_is_delivered(
    the_line: Line, bad_model: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADU_MAX_BAD_SHARE", "1")
    for number, source in enumerate(PLANTED):
        the_line.put({f"{number}.txt": source + "\n"})
    the_line.put({"good.txt": "The museum of the town is open on every day but Monday.\n"})
    job = the_line.admit(source="en")
    the_line.prepare(job)
    translate_here(the_line, job)
    assert the_line.deliver(job) == "PARTIAL"
    reasons = {b.path: b.reason or "" for b in the_line.blocks(job)}
    for number, (_, expected) in enumerate(PLANTED.values()):
        assert expected in reasons[f"{number}.txt"], (expected, reasons)
    assert the_line.output(job, "good.txt").decode().strip() == GOOD
    report = the_line.store.get(layout.report_key(UUID(job))).decode()
    assert all(f"{number}.txt" in report for number in range(len(PLANTED)))
    with the_line.ledger.transaction() as tx:
        letters = tx.connection.execute("SELECT count(*) FROM dead_letters WHERE entity = 'block'").fetchone()
        known = tx.connection.execute("SELECT count(*) FROM known_segments").fetchone()
    assert letters == (len(PLANTED),)
    assert known == (1,), "what failed its checks is never taken for known"


def test_a_model_that_is_mostly_bad_stops_the_run(the_line: Line, bad_model: None) -> None:
    for number in range(30):
        the_line.put({f"{number}.txt": f"The sixth hall was built by merchant number {number}, who never saw it.\n"})
    job = the_line.admit(source="en")
    the_line.prepare(job)
    translate_here(the_line, job)
    with pytest.raises(GateStopError, match="30") as stopped:
        line.gate_translations(job)
    assert stopped.value.data_docs is not None
    assert the_line.store.exists(stopped.value.data_docs)
    assert the_line.job(job).state == "ERROR"
    assert {b.state for b in the_line.blocks(job)} == {"VALIDATING"}, "a person decides"


def test_bad_sources_are_caught_before_money_is_spent(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_MAX_BAD_SHARE", "1")
    chance = random.Random(1)
    noise = " ".join("".join(chance.choices("bcdfghjklmnpqrstvwxz", k=chance.randint(4, 9))) for _ in range(60))
    the_line.put(
        {
            "good.txt": "The museum of the town is open on every day but Monday.\n",
            "loop.txt": "the museum is open " * 60 + "\n",
            "noise.txt": noise + "\n",
        }
    )
    job = the_line.admit(source="en")
    the_line.prepare(job)
    found = {b.path: (b.state, b.reason) for b in the_line.blocks(job)}
    assert found["loop.txt"][0] == "ERROR"
    assert "loop" in (found["loop.txt"][1] or "")
    assert found["noise.txt"][0] == "ERROR"
    assert "no_language" in (found["noise.txt"][1] or "")
    assert found["good.txt"][0] == "PENDING"
    assert all(b.attempt == 0 for b in the_line.blocks(job))


def test_a_document_that_came_out_damaged_is_not_let_out(the_line: Line) -> None:
    the_line.put(
        {
            "good.md": "The museum of the town is open on every day but Monday.\n",
            "damaged.md": "The harbour is closed because of the heavy storm tonight.\n",
        }
    )
    job = the_line.admit(source="en")
    the_line.infer(job, the_line.prepare(job))
    line.gate_translations(job)
    line.assemble(job)
    damaged = the_line.documents(job)["damaged.md"].document_id
    with the_line.ledger.transaction() as tx:
        tx.connection.execute("UPDATE outputs SET units_out = 0 WHERE document_id = %s", (damaged,))
    line.gate_output(job)
    assert line.publish(job).state == "PARTIAL"
    assert the_line.documents(job)["damaged.md"].state == "ERROR"
    assert the_line.documents(job)["good.md"].state == "COMPLETED"
    assert not the_line.store.exists(layout.output_key(UUID(job), "pt", "damaged.md"))
