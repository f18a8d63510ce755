"""A model used harder: of the best few of its beam the one that both directions and the others speak for.

The reverse model's score is that of noisy-channel reranking (P. Koehn, F. Och, D. Marcu, "Statistical Phrase-Based
Translation", 2003; K. Yee, Y. Dauphin, M. Auli, "Simple and Effective Noisy Channel Modeling for Neural Machine
Translation", 2019); the agreement with the others is `tradu.inference.consensus`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tradu.inference.consensus import consensus
from tradu.inference.made import Likelihood
from tradu.inference.marian import Hypothesis, Translation

REVERSE_WEIGHT, CONSENSUS_WEIGHT = 0.25, 1.0
"""Beside the model's own mean log-probability a token. Chosen on Superset's catalogue, English and Portuguese."""
_UNSAID = -9.0
"""The reverse score, log-probability a token, of what the reverse model can't read."""
Score = Callable[[Sequence[str], Sequence[str]], Sequence[Likelihood | None]]
"""How probable each of the second is, given the first, by the model of the other direction."""


def best(texts: Sequence[str], translations: Sequence[Translation], reverse: Score) -> list[Hypothesis]:
    """The best hypothesis for each text, whatever the other texts are: a complete one that says something, if any."""
    fit = [_usable(translation) for translation in translations]
    pairs = [(hypothesis.text, text) for text, own in zip(texts, fit, strict=True) for hypothesis in own]
    said = iter(reverse([made for made, _ in pairs], [text for _, text in pairs]))
    back = [[_UNSAID if (one := next(said)) is None else one.log_probability for _ in own] for own in fit]
    return [_best(own, scores) for own, scores in zip(fit, back, strict=True)]


def _usable(translation: Translation) -> Sequence[Hypothesis]:
    distinct = {h.text: h for h in reversed(translation.hypotheses) if h.complete and h.text.strip()}
    return [h for h in translation.hypotheses if distinct.get(h.text) is h] or translation.hypotheses[:1]


def _best(hypotheses: Sequence[Hypothesis], reverse: Sequence[float]) -> Hypothesis:
    agreement = consensus([h.text for h in hypotheses])
    scores = [
        h.score + REVERSE_WEIGHT * back + CONSENSUS_WEIGHT * agreed
        for h, back, agreed in zip(hypotheses, reverse, agreement, strict=True)
    ]
    return hypotheses[scores.index(max(scores))]
