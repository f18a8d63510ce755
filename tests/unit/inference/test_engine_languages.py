"""How multilingual models name languages."""

from __future__ import annotations

import pytest

from tradu.errors import ModelError
from tradu.inference.engines._languages import token_of

NLLB = {"eng_Latn", "por_Latn", "zho_Hans", "zho_Hant", "arb_Arab", "arb_Latn", "srp_Cyrl", "ace_Arab", "ace_Latn"}


@pytest.mark.parametrize(
    ("kind", "code", "token"),
    [
        ("m2m100", "pt-BR", "__pt__"),
        ("madlad", "pt-BR", "<2pt>"),
        ("madlad", "zh-Hant", "<2zh_Hant>"),
        ("nllb", "en", "eng_Latn"),
        ("nllb", "pt-BR", "por_Latn"),
        ("nllb", "zh", "zho_Hans"),
        ("nllb", "zh-TW", "zho_Hant"),
        ("nllb", "zh-Hant", "zho_Hant"),
        ("nllb", "ar", "arb_Arab"),
        ("nllb", "ar-EG", "arb_Arab"),
        ("nllb", "sr", "srp_Cyrl"),
        ("nllb", "ace-Latn", "ace_Latn"),
    ],
)
def test_the_token_of_a_language(kind: str, code: str, token: str) -> None:
    known = NLLB | {"__pt__", "__en__", "<2pt>", "<2en>", "<2zh>", "<2zh_Hant>"}
    assert token_of(kind, code, known) == token


@pytest.mark.parametrize("kind", ["m2m100", "nllb", "madlad"])
def test_an_unknown_one_is_refused(kind: str) -> None:
    with pytest.raises(ModelError, match="'tlh'"):
        token_of(kind, "tlh", NLLB)
