"""The harder checks of a whole block: each kind of damage is seen, the real translation is not taken for one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tradu.quality.checks import check_translation
from tradu.quality.strict import Judged, faults

BLOCK = [
    ("The committee met on Monday to discuss money.", "O comitê reuniu-se na segunda-feira para discutir dinheiro."),
    ("It decided to postpone the vote until next week.", "Decidiu adiar a votação para a próxima semana."),
    ("Nobody was surprised by that.", "Ninguém ficou surpreso com isso."),
    ("Open the window.", "Abra a janela."),
    ("The harbour was closed all winter because of ice.", "O porto ficou fechado todo o inverno por causa do gelo."),
]


def judged(damage: Callable[[str, str], str]) -> tuple[str, ...]:
    made = [(source, damage(source, translation)) for source, translation in BLOCK]
    return faults([Judged(s, t, check_translation(s, t, "en", "pt")) for s, t in made], "en", "pt")


def test_a_good_block_has_no_faults() -> None:
    assert judged(lambda source, made: made) == ()


@pytest.mark.parametrize(
    ("fault", "damage"),
    [
        ("empty", lambda source, made: ""),
        ("copied", lambda source, made: source),
        ("truncated", lambda source, made: made[: len(made) // 3]),
        ("over_long", lambda source, made: f"{made} E depois disso foram todos para casa jantar."),
        ("loop", lambda source, made: made + " e depois" * 5),
        ("same_output", lambda source, made: "A reunião foi adiada para a semana que vem."),
        ("language", lambda source, made: "The council met again and again, and nothing ever came of it."),
    ],
)
def test_each_kind_of_damage_is_seen(fault: str, damage: Callable[[str, str], str]) -> None:
    assert fault in judged(damage)
