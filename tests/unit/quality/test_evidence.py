"""Evidence from the texts themselves: negation, units, agreement of candidates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradu.inference.consensus import consensus
from tradu.quality import negation, units

DO_NOT = {
    "en": ("Do not open the door.", "Open the door."),
    "pt": ("Não abra a porta.", "Abra a porta."),
    "es": ("No abra la puerta.", "Abra la puerta."),
    "fr": ("N'ouvrez pas la porte.", "Ouvrez la porte."),
    "it": ("Non aprire la porta.", "Apri la porta."),
    "de": ("Öffnen Sie die Tür nicht.", "Öffnen Sie die Tür."),
    "ca": ("No obriu la porta.", "Obriu la porta."),
    "nl": ("Open de deur niet.", "Open de deur."),
    "pl": ("Nie otwieraj drzwi.", "Otwórz drzwi."),
}


@pytest.mark.parametrize("source", DO_NOT)
@pytest.mark.parametrize("target", DO_NOT)
def test_a_lost_and_an_added_negation_are_seen(source: str, target: str) -> None:
    ours, theirs = DO_NOT[source], DO_NOT[target]
    seen = [negation.difference(a, b, source, f"{target}-XX") for a in ours for b in theirs]
    assert seen == [0, 1, -1, 0]


@pytest.mark.parametrize("text", ["You can't", "It doesn’t work", "They cannot", "without it", "Nothing here", "NEVER"])
def test_english_forms(text: str) -> None:
    assert [match[0] for match in negation.words(text, "en")]


def test_words_that_only_look_negative() -> None:
    for text, language in (("Notes on nothingness and knots", "en"), ("O nome da nave", "pt"), ("Das Kind", "de")):
        assert not list(negation.words(text, language))
    assert negation.difference("It is not so", "Ez nem igaz", "en", "hu") == 0


@pytest.mark.parametrize(
    ("source", "translation"),
    [
        ("It costs $5", "Custa 5 dólares"),
        ("It costs $5", "Custa US$ 5"),
        ("It costs 5 USD", "Стоит 5 долларов"),
        ("10 km away", "a 10 quilômetros"),
        ("10 km away", "距离10公里"),
        ("5 GB free", "5 GB livres"),
        ("in 5 minutes", "em 5"),
        ("3 in a row", "3 to go"),
        ("in the 1990s", "nos anos 1990"),
        ("100%", "100 percento"),
        ("2 hours and 30 minutes", "2h30min"),
    ],
)
def test_the_same_unit_in_other_words(source: str, translation: str) -> None:
    assert units.changed(source, translation) == units.changed(translation, source) == 0


@pytest.mark.parametrize(
    ("source", "translation"),
    [
        ("It costs $5", "Custa € 5"),
        ("It costs 5 pounds", "Custa 5 euros"),
        ("10 km away", "a 10 milhas"),
        ("5 GB free", "5 MB livres"),
        ("in 5 minutes", "em 5 horas"),
        ("1.5 kg", "1,5 mg"),
        ("20 °C", "20 °F"),
    ],
)
def test_another_unit(source: str, translation: str) -> None:
    assert units.changed(source, translation) == 1


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_breaks_them(one: str, other: str) -> None:
    assert units.changed(one, other) >= 0
    assert negation.difference(one, other, "en", "fr") in (-1, 0, 1)
    assert units.changed(one, one) == negation.difference(one, one, "pt", "pt") == 0


def test_candidates_that_agree_stand_out() -> None:
    good = ["A casa é vermelha.", "A casa é vermelha!", "Essa casa é vermelha."]
    *alike, odd = consensus([*good, "Bananas custam caro"])
    assert min(alike) > 2 * odd
    assert consensus(["only"]) == [1.0]
    assert consensus([]) == []
    assert consensus(["same", "same"]) == pytest.approx([1.0, 1.0])


@given(st.lists(st.text(max_size=30), max_size=6))
def test_agreement_is_between_none_and_all(candidates: list[str]) -> None:
    assert all(0 <= each <= 1 for each in consensus(candidates))
