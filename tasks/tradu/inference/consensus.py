"""How far candidates for one translation agree: what several of them say is seldom one's mistake.

Cosine of TF-IDF vectors over character n-grams, each candidate with the mean of the others; weights are made from the
candidates of the one text, so that a text's figures do not depend on its neighbours. The idea is minimum Bayes risk
decoding (S. Kumar, W. Byrne, "Minimum Bayes-Risk Decoding for Statistical Machine Translation", 2004).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

_SIZES = (2, 3, 4)


def consensus(candidates: Sequence[str]) -> list[float]:
    """For each candidate the mean similarity with the others, 0 to 1; 1 where there is only one."""
    if len(candidates) < 2:
        return [1.0] * len(candidates)
    counts = [_grams(text) for text in candidates]
    known = sorted(set().union(*counts))
    if not known:
        return [1.0] * len(candidates)
    table = np.array([[count[gram] for gram in known] for count in counts], np.float64)
    spread = (table > 0).sum(axis=0)
    weighted = table * (np.log((1 + len(candidates)) / (1 + spread)) + 1)  # smoothed, as in scikit-learn
    lengths = np.linalg.norm(weighted, axis=1, keepdims=True)
    unit = weighted / np.where(lengths == 0, 1, lengths)
    similar = unit @ unit.T
    np.fill_diagonal(similar, 0)
    return [float(min(1.0, mean)) for mean in similar.sum(axis=1) / (len(candidates) - 1)]


def _grams(text: str) -> Counter[str]:
    spaced = f" {' '.join(text.casefold().split())} "
    return Counter(spaced[i : i + size] for size in _SIZES for i in range(len(spaced) - size + 1))
