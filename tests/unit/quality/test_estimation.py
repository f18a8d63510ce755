"""The score: a probability that falls with every penalty, by the evidence there is."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradu.errors import RequestError
from tradu.quality import estimation
from tradu.quality.checks import check_translation
from tradu.quality.estimation import Calibration, Penalties, Support, calibration, score, surprise

NAMES = [
    f"{base}{reverse}{similarity}"
    for base in ("own", "given")
    for reverse in ("", "+reverse")
    for similarity in ("", "+similarity")
]
EN = "The committee did not vote on the new budget of $5 million."
PT = "O comitê não votou o novo orçamento de US$ 5 milhões."
logs = st.floats(-30, 0)
supports = st.builds(
    Support,
    st.none() | logs,
    st.none() | logs,
    st.booleans(),
    st.booleans(),
    st.none() | logs,
    st.none() | st.floats(-1, 1),
)
amounts = st.floats(0, 10)
penalties = st.builds(Penalties, **{field.name: amounts for field in fields(Penalties)})


@given(penalties, supports)
def test_a_score_is_a_probability(against: Penalties, support: Support) -> None:
    assert 0 <= score(against, support) <= 1


@given(penalties, supports, st.sampled_from(fields(Penalties)), amounts)
def test_no_penalty_ever_raises_a_score(against: Penalties, support: Support, field: object, more: float) -> None:
    name = field.name  # type: ignore[attr-defined]
    worse = replace(against, **{name: getattr(against, name) + more})
    assert score(worse, support) <= score(against, support)


@given(logs, logs, logs)
def test_what_a_model_finds_less_probable_scores_no_higher(one: float, other: float, lowest: float) -> None:
    low, high = sorted((one, other))
    scores = [check_translation(EN, PT, "en", "pt", support=Support(mean, lowest)).score for mean in (low, high)]
    assert scores[0] <= scores[1]


@given(supports)
def test_every_kind_of_evidence_has_its_calibration(support: Support) -> None:
    assert calibration(support.calibration).weights is not None
    assert all(value >= 0 for value in surprise(support).values())


def test_the_file_has_all_calibrations_and_each_uses_its_evidence() -> None:
    assert {calibration(name).intercept for name in ("rules", "silent", *NAMES)}
    for name in NAMES:
        assert calibration(name).weights["surprise"] > 0
        assert ("unlike" in calibration(name).weights) == ("similarity" in name)
    for name in ("rules", "silent", "own", "given"):
        assert all(calibration(name).weights[penalty] > 0 for penalty in ("numbers", "negation", "cut_off"))


def test_good_translations_score_high_and_improbable_ones_low() -> None:
    def of(text: str, mean: float, lowest: float) -> float:
        return check_translation(EN, text, "en", "pt", support=Support(mean, lowest)).score

    assert of(PT, -0.1, -0.6) > 0.85
    assert of(PT, -1.5, -9.0) < 0.4
    assert of(PT.replace("não ", ""), -0.1, -0.6) < of(PT, -0.1, -0.6)
    assert of(PT.replace("5", "7"), -0.1, -0.6) < of(PT, -0.1, -0.6)
    assert of(PT.replace("US$", "€"), -0.1, -0.6) < of(PT, -0.1, -0.6)


def test_a_rule_based_engine_is_believed_less() -> None:
    rough = check_translation(EN, PT, "en", "pt", support=Support(rule_based=True)).score
    assert rough < check_translation(EN, PT, "en", "pt").score
    unknown = check_translation(EN, PT, "en", "pt", unknown_words=4, support=Support(rule_based=True)).score
    assert unknown < rough


@pytest.mark.parametrize("text", ["12.5", "…", "\ue000 1 \ue001", ""])
def test_what_needs_no_translation_is_good_as_it_is(text: str) -> None:
    assert check_translation(text, text, "en", "pt", support=Support(rule_based=True)).score == 1
    assert check_translation(EN, EN, "en", "en-GB").score == 1


def test_a_score_does_not_fail_on_the_impossible() -> None:
    assert Calibration(0.0, {"worst": 1.0}).score(Penalties(*[1e6] * len(fields(Penalties)))) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "no calibrations"),
        ("calibrations: {own: {intercept: x, weights: {}}}", "no calibrations"),
        ("calibrations: {own: {intercept: 1, weights: {magic: 1}}}", "magic: no such penalty"),
        ("calibrations: {own: {intercept: 1, weights: {worst: -1}}}", "worst: no such penalty, or a weight below 0"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "quality.yaml"
    file.write_text(text)
    with pytest.raises(RequestError, match=message):
        estimation._calibrations(file)
    with pytest.raises(RequestError, match="no calibrations"):
        estimation._calibrations(tmp_path / "none.yaml")


def test_a_calibration_that_is_not_there_is_named() -> None:
    with pytest.raises(RequestError, match="no calibration 'magic'; there are: rules, silent, own"):
        calibration("magic")
