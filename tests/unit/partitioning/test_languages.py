"""Mixed documents: blocks end where the language changes, and only a language that is surely another one counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pydoc_data.topics import topics
from uuid import UUID

import pytest

from tradu.documents.language import other_than
from tradu.documents.model import Unit
from tradu.ledger.rows import Document, Job
from tradu.partitioning.partition import language_of
from tradu.partitioning.segments import cut

EN = "The committee met on Monday to discuss the new budget and decided to postpone the vote."
PT = "O comitê reuniu-se na segunda-feira para discutir o novo orçamento e não adiou a votação."
ES = "El comité se reunió el lunes para discutir el nuevo presupuesto y decidió aplazar la votación."
DE = "Der Ausschuss traf sich am Montag, um den neuen Haushalt zu besprechen, und vertagte die Abstimmung."
NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = Job(
    UUID(int=1), "t", "r", "k", "q", None, "RUNNING", "auto", ["pt"], "balanced", [], {}, None, None, NOW, None, None
)  # fmt: skip
DOCUMENT = Document(UUID(int=1), "d", ["x.txt"], "x", "text", "en", 0.9, 1, 0, 0, "REGISTERED", None, None, NOW)


@pytest.mark.parametrize(
    ("text", "usual", "other"),
    [
        (EN, "en", None),
        (PT, "en", "pt"),
        (ES, "en", "es"),
        (EN, "pt", "en"),
        (PT, "pt-BR", None),
        (ES, "pt", "es"),
        ("Introdução", "en", None),
        ("42 kg, 7 m", "en", None),
        (PT, "und", None),
    ],
)
def test_what_is_another_language(text: str, usual: str, other: str | None) -> None:
    found = other_than(text, usual)
    assert (found.language if found else None) == other


def test_real_english_is_hardly_ever_taken_for_another_language() -> None:
    paragraphs = [" ".join(p.split()) for text in topics.values() for p in text.split("\n\n")]
    wrong = [p for p in paragraphs if other_than(p, "en")]
    assert len(paragraphs) > 2_000
    assert len(wrong) <= 3, wrong


def test_only_languages_from_which_a_way_leads_to_every_target() -> None:
    asked: list[tuple[str, str]] = []

    def leads(source: str, target: str) -> bool:
        asked.append((source, target))
        return source == "es"

    found = language_of(JOB, DOCUMENT, leads)
    assert [found(text) for text in (EN, ES, DE, PT, ES)] == ["en", "es", "en", "pt", "es"]
    assert asked == [("es", "pt"), ("de", "pt")], "a target language needs no way, and each is asked for once"
    for job, document in ((replace(JOB, source="en"), DOCUMENT), (JOB, replace(DOCUMENT, source=None))):
        constant = language_of(job, document, leads)
        assert {constant(text) for text in (EN, ES, PT)} == {document.source or "und"}


def test_blocks_end_where_the_language_changes_and_nothing_is_lost() -> None:
    texts = [EN, "Budget", PT, PT, "  ", PT, ES, EN]
    language = language_of(JOB, DOCUMENT, lambda source, target: True)
    found = list(cut([Unit(0, 0, text) for text in texts], language, 1_000))
    assert [(source, [s.unit for s in block]) for source, block in found] == [
        ("en", [0, 1]), ("pt", [2, 3, 5]), ("es", [6]), ("en", [7])
    ]  # fmt: skip
    assert [s.source for _, block in found for s in block] == [text for text in texts if text.strip()]
