"""Decisions about rollouts: what is certainly worse goes back, what is certainly not goes on, luck decides nothing."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tradu.ledger.rollouts import Evidence, Side
from tradu.rollouts.decision import Limits, Result, decide
from tradu.rollouts.sides import position, side

LIMITS = Limits(sample=50)


def evidence(blocks: int, failed: int = 0, score: float = 0.95, spread: float = 0.05, seconds: float = 1.0) -> Evidence:
    """Of blocks of 1,000 characters whose scores have this mean and standard deviation."""
    squares, timed, took = blocks * (score**2 + spread**2), 1_000 * blocks, seconds * blocks
    return Evidence(blocks, failed, 10 * blocks, timed, blocks * score, squares, timed, took, took)


@st.composite
def some_evidence(draw: st.DrawFn) -> Evidence:
    blocks = draw(st.integers(0, 500))
    score, spread = draw(st.floats(0, 1)), draw(st.floats(0, 0.5))
    return evidence(blocks, draw(st.integers(0, blocks)), score, spread, draw(st.floats(0, 10)))


def test_a_good_candidate_goes_on_after_its_sample() -> None:
    assert decide(evidence(49), evidence(60), LIMITS).result is Result.HOLD
    assert decide(evidence(200, 2), evidence(200, 2), LIMITS).result is Result.PROMOTE
    assert decide(evidence(200, score=0.99), evidence(200), LIMITS).result is Result.PROMOTE


def test_a_broken_one_goes_back_after_a_handful_of_blocks() -> None:
    said = decide(evidence(4, 4), evidence(6), LIMITS)
    assert (said.result, said.rule) == (Result.ROLL_BACK, "failures: 4 of 4 blocks failed, 0 of 6 before")
    assert decide(evidence(10, 10), Evidence(), LIMITS).result is Result.ROLL_BACK, (
        "even with nothing to compare it with"
    )


def test_each_limit_alone_sends_it_back() -> None:
    usual = evidence(200)
    for worse, rule in (
        (evidence(200, 30), "failures"),
        (evidence(200, score=0.85), "score"),
        (evidence(200, seconds=2.5), "slow"),
        (replace(evidence(200), cost=1_000.0), "dear"),
    ):
        said = decide(worse, usual, LIMITS)
        assert (said.result, said.rule.partition(":")[0]) == (Result.ROLL_BACK, rule)


def test_what_is_not_sure_waits() -> None:
    said = decide(evidence(50, score=0.935, spread=0.1), evidence(50, spread=0.1), LIMITS)
    assert (said.result, said.rule.partition(":")[0]) == (Result.HOLD, "not sure yet")


@given(some_evidence(), some_evidence(), st.integers(1, 100))
def test_one_more_failure_never_speaks_for_a_candidate(mine: Evidence, theirs: Evidence, sample: int) -> None:
    order = [Result.PROMOTE, Result.HOLD, Result.ROLL_BACK]
    before = decide(mine, theirs, Limits(sample=sample)).result
    if mine.failed < mine.blocks:
        after = decide(replace(mine, failed=mine.failed + 1), theirs, Limits(sample=sample)).result
        assert order.index(after) >= order.index(before)


@given(some_evidence(), some_evidence())
def test_nothing_is_promoted_before_its_sample_or_with_a_worse_score(mine: Evidence, theirs: Evidence) -> None:
    if decide(mine, theirs, LIMITS).result is Result.PROMOTE:
        assert min(mine.blocks, theirs.blocks) >= LIMITS.sample
        assert mine.score_sum / mine.blocks >= theirs.score_sum / theirs.blocks - LIMITS.score_loss


def test_luck_sends_an_equal_candidate_back_hardly_ever_and_a_bad_one_nearly_always() -> None:
    """The evidence is looked at after every batch, as workers do: 300 rollouts of 100 batches of each kind."""

    def goes_back(rate: float, chance: Random) -> bool:
        mine, theirs = Evidence(), Evidence()
        for _ in range(100):
            mine += evidence(2, sum(chance.random() < rate for _ in range(2)))
            theirs += evidence(2, sum(chance.random() < 0.02 for _ in range(2)))
            if decide(mine, theirs, LIMITS).result is Result.ROLL_BACK:
                return True
        return False

    chance = Random(7)
    assert sum(goes_back(0.02, chance) for _ in range(300)) <= 6
    assert sum(goes_back(0.5, chance) for _ in range(300)) == 300


@given(st.floats(0, 0.999999), st.floats(0, 1), st.floats(0, 1))
def test_a_block_stays_the_candidates_as_the_share_grows(where: float, one: float, other: float) -> None:
    less, more = sorted((one, other))
    if side(where, less) is Side.CANDIDATE:
        assert side(where, more) is Side.CANDIDATE
    assert side(where, 0) is not Side.CANDIDATE
    assert side(where, 1) is Side.CANDIDATE


def test_sides_have_their_shares_and_differ_between_rollouts() -> None:
    places = [position(1, "d" * 64, number, "pt") for number in range(20_000)]
    assert places == [position(1, "d" * 64, number, "pt") for number in range(20_000)]
    for share in (0.01, 0.1, 0.5):
        of_candidate = sum(side(where, share) is Side.CANDIDATE for where in places) / len(places)
        of_control = sum(side(where, share) is Side.CONTROL for where in places) / len(places)
        assert abs(of_candidate - share) < 0.01
        assert abs(of_control - share) < 0.01
    assert len({position(rollout, "d" * 64, 1, "pt") for rollout in range(100)}) == 100
