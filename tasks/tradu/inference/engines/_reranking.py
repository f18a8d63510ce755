"""A model used harder: of the best few of its beam the one that both directions and the others speak for.

The reverse model's score is that of noisy-channel reranking (P. Koehn, F. Och, D. Marcu, "Statistical Phrase-Based
Translation", 2003; K. Yee, Y. Dauphin, M. Auli, "Simple and Effective Noisy Channel Modeling for Neural Machine
Translation", 2019); the agreement with the others is `tradu.inference.consensus`.
"""

from __future__ import annotations

from collections.abc import Sequence

from tradu.inference.consensus import consensus
from tradu.inference.marian import Files, Hypothesis, Translation, Translator
from tradu.inference.marian.translator import LONGEST_TARGET_TOKENS, LONGEST_TOKENS

REVERSE_WEIGHT, CONSENSUS_WEIGHT = 0.25, 1.0
"""Beside the model's own mean log-probability a token. Chosen on Superset's catalogue, English and Portuguese."""
_UNSAID = -9.0
"""The reverse score, log-probability a token, of what the reverse model can't read."""


class Reranker:
    """Chooses among the hypotheses for each text, whatever the other texts are."""

    def __init__(self, reverse: Files, threads: int = 1, device: str | None = None) -> None:
        """Load the model of the other direction.

        Raises:
            ModelError: a file is damaged.
            OSError: a file can't be read.
        """
        self._reverse = Translator(reverse, threads=threads, device=device)

    def best(self, texts: Sequence[str], translations: Sequence[Translation]) -> list[Hypothesis]:
        """The best hypothesis for each text: a complete one that says something, where there is one."""
        fit = [_usable(translation) for translation in translations]
        reverse = iter(self._scores([(h.text, t) for t, own in zip(texts, fit, strict=True) for h in own]))
        return [_best(own, [next(reverse) for _ in own]) for own in fit]

    def _scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """How probable each text is, given its translation: the mean log-probability of a token."""
        read = self._reverse.tokens([made for made, _ in pairs])
        written = self._reverse.target_tokens([text for _, text in pairs])
        fit = [
            i
            for i, (made, text) in enumerate(zip(read, written, strict=True))
            if len(made) <= LONGEST_TOKENS and len(text) <= LONGEST_TARGET_TOKENS
        ]
        scored = self._reverse.score([pairs[i][0] for i in fit], [pairs[i][1] for i in fit])
        known = {i: each.hypotheses[0].score for i, each in zip(fit, scored, strict=True)}
        return [known.get(i, _UNSAID) for i in range(len(pairs))]


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
