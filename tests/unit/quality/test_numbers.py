"""Numbers are compared by value, whatever the language writes around the digits."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradu.quality.numbers import Difference, compare

# (thousands, decimal) of English, Portuguese, French, Swiss German, Swedish with plain spaces, Persian
LOCALES = [(",", "."), (".", ","), ("\u202f", ","), ("’", "."), (" ", ","), ("٬", "٫")]
DIGITS = ["0123456789", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "０１２３４５６７８９"]


def written(number: int, cents: int | None, locale: tuple[str, str], digits: str) -> str:
    text = f"{number:,}".replace(",", locale[0])
    text += "" if cents is None else f"{locale[1]}{cents:02d}"
    return text.translate(str.maketrans("0123456789", digits))


locale, digits = st.sampled_from(LOCALES), st.sampled_from(DIGITS)
number = st.integers(0, 10**12)
cents = st.none() | st.integers(0, 99)


@given(number, cents, locale, locale, digits, digits)
def test_the_same_number_is_the_same_in_every_locale(
    number: int,
    cents: int | None,
    ours: tuple[str, str],
    theirs: tuple[str, str],
    our_digits: str,
    their_digits: str,
) -> None:
    source = f"It cost {written(number, cents, ours, our_digits)} euros"
    translation = f"Custou {written(number, cents, theirs, their_digits)} euros"
    assert compare(source, translation) == Difference()


@given(st.integers(101, 10**12), st.integers(101, 10**12), locale, locale)
def test_another_number_is_seen(one: int, other: int, ours: tuple[str, str], theirs: tuple[str, str]) -> None:
    a, b = written(one, 25, ours, DIGITS[0]), written(other, 25, theirs, DIGITS[0])
    found = compare(f"Total: {a}", f"Total: {b}")
    assert (found == Difference()) == (one == other)


@given(st.dates())
def test_dates_in_any_order(date: datetime.date) -> None:
    assert compare(date.strftime("%Y-%m-%d"), date.strftime("em %d/%m/%Y")) == Difference()


@pytest.mark.parametrize(
    ("source", "translation"),
    [
        ("Shares fell 3.2% on Monday", "As ações caíram 3,2 % na segunda-feira"),
        ("about 10,000 people", "cerca de 10 000 pessoas"),
        ("₹12,34,567", "1.234.567 rúpias"),
        ("on 2024-12-31", "em 31 de dezembro de 2024"),
        ("May 5, 2024", "5.5.2024"),
        ("at 4:30 PM", "às 16h30"),
        ("at 4 PM", "às 16h"),
        ("at 16:00", "a las 4 de la tarde"),
        ("the 1990s", "os anos 90"),
        ("the 80s", "la década de 1980"),
        ("the 2nd place", "o 2.º lugar"),
        ("the 2nd place", "o segundo lugar"),
        ("two files", "2 ficheiros"),
        ("12 months", "doze meses"),
        ("twenty-one days", "21 dias"),
        ("the 19th century", "o século XIX"),
        ("in 2020 100 people", "em 2020, 100 pessoas"),
        ("pages 10-20", "páginas 10 a 20"),
        ("½ cup", "1/2 xícara"),
        ("30 m²", "30 m2"),
        ("3 dogs", "三只狗"),
        ("2 billion", "2.000 millones"),
        ("no numbers", "sem números"),
    ],
)
def test_other_forms_of_the_same_number(source: str, translation: str) -> None:
    assert compare(source, translation) == Difference()
    assert compare(translation, source) == Difference()


@pytest.mark.parametrize(
    ("source", "translation", "missing", "added"),
    [
        ("fell 3.2%", "caíram 2,3%", ("3.2",), ("2,3",)),
        ("5 cats", "7 gatos", ("5",), ("7",)),
        ("costs 1,234", "custa 12,34", ("1,234",), ("12,34",)),
        ("100 people", "1000 pessoas", ("100",), ("1000",)),
        ("in 2023", "em 2032", ("2023",), ("2032",)),
        ("5 here and 5 there", "5 aqui e lá", ("5",), ()),
        ("version 1.2.3", "versão 1.2.4", ("3",), ("4",)),
        ("version 1.05", "versão 1.5", ("1.05",), ("1.5",)),
        ("some people", "42 pessoas", (), ("42",)),
        ("from 9 PM", "das 23h", ("9",), ("23",)),
    ],
)
def test_planted_changes(source: str, translation: str, missing: tuple[str, ...], added: tuple[str, ...]) -> None:
    assert compare(source, translation) == Difference(missing, added)
