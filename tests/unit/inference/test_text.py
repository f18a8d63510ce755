"""Cutting long text, typography, and Apertium's stream format lose nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradu.errors import RequestError
from tradu.inference import clauses, languages, typography
from tradu.inference.engines.apertium import escape, unescape

prose = st.text(alphabet="ab ,.;:?()\n—é中\ue000", max_size=200)


@given(prose, st.integers(5, 60))
def test_pieces_joined_are_the_text_and_short_enough(text: str, longest: int) -> None:
    parts = clauses.pieces(text, "en", longest)
    assert "".join(parts) == text
    assert all(len(part) <= longest for part in parts)


def test_cuts_are_made_at_clauses_before_words() -> None:
    assert clauses.cut("when it rains, we stay at home", 20) == ["when it rains, ", "we stay at home"]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="*@#\ufdd0"), max_size=60))
def test_the_stream_format_round_trips(text: str) -> None:
    assert unescape(escape(text)) == text


def test_marks_of_unknown_words_are_told_from_escaped_signs() -> None:
    assert unescape(r"*word a\@b @x #y [12]") == "\ufdd0word a@b \ufdd0x \ufdd0y \ue00c"


def test_typography_goes_and_comes_back() -> None:
    source = "“Wait…” — it’s 1990–2000"
    assert typography.straighten(source) == '"Wait..." - it\'s 1990-2000'
    assert typography.dress("\"Espere...\" - é 'bom' 1990-2000", source) == "“Espere…” — é ‘bom’ 1990—2000"


@given(st.text(alphabet="ab \"'.-12", max_size=40))
def test_plain_text_keeps_plain_typography(text: str) -> None:
    assert typography.dress(text, typography.straighten(text)) == text


@pytest.mark.parametrize(
    ("source", "translated", "expected"),
    [
        ("Open", "abrir", "Abrir"),
        ("open", "Abrir", "abrir"),
        ("open", "PDF", "PDF"),
        ("\ue000 is", "\ue000 Es", "\ue000 es"),
    ],
)
def test_the_first_letter_has_the_case_of_the_source(source: str, translated: str, expected: str) -> None:
    assert typography.match_case(translated, source) == expected


@pytest.mark.parametrize(
    ("code", "normal"), [("pt_br", "pt-BR"), ("por-BR", "pt-BR"), ("EN", "en"), ("zh-hant", "zh-Hant")]
)
def test_language_codes(code: str, normal: str) -> None:
    assert languages.normalise(code) == normal


@pytest.mark.parametrize("code", ["english", "e", "", "pt-", "*", "../x"])
def test_what_is_no_language_code_is_refused(code: str) -> None:
    with pytest.raises(RequestError, match="not a language code"):
        languages.normalise(code)
