"""Every check sees what it is for, and leaves its clean counterpart alone."""

from __future__ import annotations

import dataclasses
import time
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradu.quality.checks import SourceChecks, as_columns, check_source, check_translation, failed

A, B, C = "\ue000", "\ue001", "\ue002"
EN = "The committee met on Monday to discuss the new budget and decided to postpone the vote until next week."
PT = "O comitê reuniu-se na segunda-feira para discutir o novo orçamento e adiou a votação para a próxima semana."
ES = "El comité se reunió el lunes para discutir el nuevo presupuesto y aplazó la votación hasta la próxima semana."
FR = "Le comité s'est réuni lundi pour discuter du nouveau budget et a reporté le vote à la semaine prochaine."
ZH = "委员会星期一开会讨论新预算，并决定将投票推迟到下周举行。"
TABLE = "+------------------+------------------+\n| Operator         | Description      |\n" * 4
LOOP = "o comitê decidiu que " * 30


@pytest.mark.parametrize(
    ("source", "translation", "source_language", "target_language"),
    [
        (EN, PT, "en", "pt"),
        (EN, PT, "en", "pt-BR"),
        (EN, ES, "en", "es"),
        (PT, ES, "pt", "es"),
        (EN, ZH, "en", "zh"),
        (ZH, EN, "zh", "en"),
        ("OK", "Está bem", "en", "pt"),
        ("New York", "New York", "en", "pt"),
        ("John Smith, Mary Jones and Peter Brown", "John Smith, Mary Jones and Peter Brown", "en", "pt"),
        (f"Open {A}the file{B} in {C}", f"Abra {A}o ficheiro{B} em {C}", "en", "pt"),
        (f"{A} of {B}", f"{B} de {A}", "en", "pt"),
        (A, A, "en", "pt"),
        ("ha ha ha", "ha ha ha", "en", "pt"),
        ("Write to @anna about #news", "Escreva a @anna sobre #news", "en", "pt"),
        (f"{EN} {EN} {EN}", f"{PT} {PT} {PT}", "en", "pt"),
        (EN, EN, "en", "en"),
    ],
)
def test_good_translations_pass(source: str, translation: str, source_language: str, target_language: str) -> None:
    checks = check_translation(source, translation, source_language, target_language)
    assert failed(checks) == ()
    assert checks.score > 0.7


@pytest.mark.parametrize(
    ("source", "translation", "reason"),
    [
        (EN, "", "empty"),
        (EN, " \n", "empty"),
        (f"{A}Hello there{B}", f"{A}{B}", "empty"),
        (EN, "O comitê.", "length"),
        ("Save", PT, "length"),
        ("It costs 25 dollars", "Custa 52 dólares", "numbers"),
        (f"See {A}here{B}", f"Veja {A}aqui", "codes"),
        (f"See {A}", f"Veja {A}{A}", "codes"),
        (f"See {A}", f"Veja {B}", "codes"),
        (EN, PT.replace("orçamento", "*budget"), "unknown_words"),
        (EN, PT.replace("ç", "\ufffd"), "unknown_words"),
        (EN, EN, "copied"),
        (EN, LOOP, "loop"),
        (EN, "não não não não não não não", "loop"),
        (EN, ES, "language"),
        (EN, FR, "language"),
        (EN, ZH, "language"),
        (EN, PT[:70], "cut_off"),
        (EN, f"{PT} {PT[-23:]}{PT[-23:]}{PT[-23:]}{PT[-23:]}", "loop"),
    ],
)
def test_planted_faults_are_named(source: str, translation: str, reason: str) -> None:
    checks = check_translation(source, translation, "en", "pt")
    assert reason in failed(checks)
    assert checks.score < 0.95


def test_a_loop_of_the_source_is_not_the_translation_s_fault() -> None:
    assert "loop" not in failed(check_translation("no " * 200, "não " * 200, "en", "pt"))


def test_kin_of_the_target_is_told_apart_only_when_sure() -> None:
    short = "Quiero una casa nueva para mis padres"
    assert check_translation("I want a new house for my parents", short, "en", "gl").target_language_ok is not False


def test_a_language_that_the_detector_does_not_know_is_not_judged() -> None:
    maori = "Kāore i taea te whakahou i te whirihora tae papatohu o te pūrongo hou."
    assert check_translation(EN, maori, "en", "mi").target_language_ok is None


def test_tags_must_close_in_their_order_where_their_spelling_is_known() -> None:
    codes = ("<b>", "</b>", "%s", "<br/>")
    good = check_translation(f"{A}x{B} {C}", f"{C} {A}y{B}", "en", "pt", codes)
    bad = check_translation(f"{A}x{B} {C}", f"{C} {B}y{A}", "en", "pt", codes)
    assert (good.codes_misnested, bad.codes_misnested) == (0, 1)
    assert failed(bad) == ("codes",)


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_text_breaks_a_check(source: str, translation: str) -> None:
    checks = check_translation(source, translation, "en", "pt")
    assert 0 <= checks.score <= 1
    assert 0 <= checks.repetition <= 1
    failed(checks)
    failed(check_source(source))


@given(st.lists(st.sampled_from([A, B, C, "word", "3"]), max_size=12), st.randoms())
def test_codes_may_change_places(parts: list[str], random: Random) -> None:
    moved = list(parts)
    random.shuffle(moved)
    checks = check_translation(" ".join(parts), " ".join(moved), "en", "pt")
    assert checks.codes_missing == checks.codes_added == 0


@pytest.mark.parametrize(
    "text", [EN, ZH, "OK", "1.20\n3.40\n5.60", "\n".join(["Active"] * 300), f"{EN}\n{EN}", "-" * 20, TABLE]
)
def test_sources_worth_translating_pass(text: str) -> None:
    assert failed(check_source(text)) == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("PK\x03\x04\x14\x00\x08\x00 abc \x00\x01\x02", "binary"),
        ("Caf\ufffd \ufffd\ufffd \ufffd", "binary"),
        ("~|=+<>^ " * 40, "letters"),
        ("the report says that " * 200, "loop"),
        ("aGVsbG8gd29ybGQgdGhpcyBpcyBiYXNlNjQgZW5jb2RlZCBkYXRhIHdpdGggbm8gbWVhbmluZyBhdCBhbGwg", "no_language"),
        ("\n".join(["This page was intentionally left blank by the office."] * 40), "loop"),
        ("qxzvkj wqpzx kjvqz xzqwk vjkqx zpwqk jxvzq kwqpx zvjkq xqzwp kvjqx " * 2, "no_language"),
    ],
)
def test_sources_not_worth_their_money_are_named(text: str, reason: str) -> None:
    assert reason in failed(check_source(text))


def test_columns_have_every_field_of_every_row() -> None:
    rows = [check_source(EN), check_source("OK")]
    columns = as_columns(rows)
    assert set(columns) == {f.name for f in dataclasses.fields(SourceChecks)}
    assert [len(c) for c in columns.values()] == [2] * len(columns)


def test_checks_are_cheap() -> None:
    """At least 1,500 segments a second on a busy machine; an idle core does ten times that."""
    check_translation(EN, PT, "en", "pt")
    started = time.process_time()
    for _ in range(1_000):
        failed(check_translation(EN, PT, "en", "pt"))
    assert time.process_time() - started < 1_000 / 1_500
