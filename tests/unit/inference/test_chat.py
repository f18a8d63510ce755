"""Requests to servers: waiting, and what is read out of an answer."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tradu.inference.engines._chat import Bucket, retry_after
from tradu.inference.engines.openai import _between, _stands_in, _translation

NOW = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7),
        ("Sat, 28 Nov 2026 12:00:30 GMT", 30),
        ("Sat, 28 Nov 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after(said: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": said}, NOW) == seconds


def test_requests_go_out_evenly() -> None:
    bucket = Bucket(60)
    assert [bucket.reserve(100.0) for _ in range(4)] == [0, 1, 2, 3]
    assert bucket.reserve(200.0) == 0
    bucket.pause(210.0)
    assert bucket.reserve(201.0) == 9
    assert [Bucket(None).reserve(5.0) for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("content", "translation"),
    [
        ("Olá.", "Olá."),
        ("<think>Hm, Portuguese.</think>\nOlá.", "Olá."),
        ('{"translation": "Ol\\u00e1 \\"você\\"."}', 'Olá "você".'),
        ('<think>x</think> { "translation" : "Olá" }\n', "Olá"),
        ('{"translation": "broken', '{"translation": "broken'),
    ],
)
def test_the_translation_in_an_answer(content: str, translation: str) -> None:
    assert _translation(content)[0] == translation


def test_log_probabilities_are_those_of_the_translation_alone() -> None:
    tokens = [('{"', -0.1), ("translation", -0.2), ('": "', -0.3), ("Ol", -1.0), ("á", -2.0), ('"}', -0.4)]
    _, start, end = _translation("".join(token for token, _ in tokens))
    assert _between(tokens, start, end) == [-1.0, -2.0]
    assert _between([("Olá", -1.5)], 0, 3) == [-1.5]


def test_a_term_is_a_whole_word() -> None:
    assert _stands_in("file", "The File is open.")
    assert not _stands_in("file", "Profiles.")
    assert _stands_in("C++", "In C++, yes")
