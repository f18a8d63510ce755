"""Masks carry inline codes through any engine, or say that they could not."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradu.inference import codes
from tradu.inference.codes import PlainMask, WordMask, translate_coded
from tradu.inference.made import Likelihood, Made, joined, likelihood_of

CODES = [chr(0xE000 + i) for i in range(40)]
words = st.sampled_from(["open", "the file", "K7", "X91", "KK7", ",", ".", "été", "(see", "1.5", "\n"])
coded = st.lists(st.one_of(words, st.sampled_from(CODES)), max_size=14, unique=True).flatmap(
    lambda parts: st.lists(st.sampled_from(["", " "]), min_size=len(parts), max_size=len(parts)).map(
        lambda gaps: "".join(p + g for p, g in zip(parts, gaps, strict=True)).strip()
    )
)


@given(coded)
def test_a_word_mask_gives_back_the_codes_of_a_text_that_nothing_changed(text: str) -> None:
    mask = WordMask("KWZ", 7)
    hidden = mask.hide(text)
    shown = mask.show(hidden.text, hidden)
    assert not codes.codes_of(hidden.text)
    assert shown is not None
    assert codes.codes_of(shown) == codes.codes_of(text)
    assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", text)


@given(coded, st.data())
def test_a_word_mask_refuses_lost_and_doubled_codes(text: str, data: st.DataObject) -> None:
    mask = WordMask("KWZ", 7)
    hidden = mask.hide(text)
    if not hidden.tokens:
        return
    token = data.draw(st.sampled_from(hidden.tokens))[0]
    assert mask.show(re.sub(rf"\b{token}\b", "", hidden.text), hidden) is None
    assert mask.show(f"{hidden.text} {token}", hidden) is None


def test_a_word_mask_refuses_codes_out_of_order() -> None:
    mask = WordMask("K", 7)
    hidden = mask.hide("a \ue000 b \ue001 c")
    assert hidden.text == "a K7 b K8 c"
    assert mask.show("x K8 y K7 z", hidden) is None
    assert mask.show("x K7 y K8 z", hidden) == "x \ue000 y \ue001 z"


def test_names_that_the_text_uses_are_not_taken() -> None:
    assert WordMask("KW", 7).hide("route K7 to \ue000").text == "route K7 to W7"
    assert WordMask("K", 7).hide("route K7 to \ue000").text == "route K7 to KK7"


def test_codes_touch_their_neighbours_as_in_the_source() -> None:
    mask = WordMask("K", 7)
    hidden = mask.hide("the \ue000red\ue001 house")
    assert mask.show("a casa K7 vermelha K8", hidden) == "a casa \ue000vermelha\ue001"


@pytest.mark.parametrize("breaks", ["dropped", "doubled", "reversed", "invented"])
@given(texts=st.lists(coded, max_size=4))
def test_codes_are_kept_whatever_an_engine_does(breaks: str, texts: list[str]) -> None:
    def run(given_texts: Sequence[str]) -> list[Made]:
        def spoil(text: str) -> str:
            names = re.findall(r"\b[KWZXQJ]+\d+\b", text)
            if breaks == "dropped":
                return re.sub(r"\b[KWZXQJ]+\d+\b", "", text) or "nothing"
            if breaks == "doubled":
                return text + " " + " ".join(names)
            if breaks == "invented":
                return f"{text} K7 K8 \ue005"
            return " ".join(reversed(text.split()))

        return [Made(spoil(text)) for text in given_texts]

    made = translate_coded(texts, (WordMask("KWZ", 7), WordMask("XQJ", 91)), run)
    assert [codes.codes_of(each.text) for each in made] == [codes.codes_of(text) for text in texts]


def test_pieces_between_codes_are_still_translated() -> None:
    made = translate_coded(
        ["open \ue000 now"],
        (PlainMask(),),
        lambda texts: [
            Made(t.upper().replace("\ue000", ""), likelihood=Likelihood(-float(len(t)), -9.0, 2)) for t in texts
        ],
    )
    assert made == [Made("OPEN \ue000 NOW", likelihood=Likelihood(-3.5, -9.0, 4))]


def test_evidence_of_pieces_is_that_of_all_their_tokens() -> None:
    one, two = Made("a", ("x",), likelihood_of([-0.1, -0.3])), Made("b", ("y",), likelihood_of([-1.6, 0.00001]))
    assert joined("a b", [one, Made(" "), two]) == Made("a b", ("x", "y"), Likelihood(-0.5, -1.6, 4))
    assert joined("", []) == Made("")
    assert likelihood_of([]) is None


def test_texts_without_words_never_reach_the_engine() -> None:
    def run(texts: Sequence[str]) -> list[Made]:
        raise AssertionError(texts)

    texts = ["", " ", "\ue000", "12.5 \ue001", "…"]
    assert [made.text for made in translate_coded(texts, (PlainMask(),), run)] == texts


@given(st.text(alphabet="ab1#~\ue000\uf8ff", max_size=30))
def test_what_is_protected_comes_back(text: str) -> None:
    protected, spelt = codes.protect(text, re.compile("[#~1]+"))
    assert not re.search("[#~1]", protected)
    assert codes.restore(protected, spelt) == text
