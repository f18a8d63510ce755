"""What a search is: from sequences of ids to hypotheses, on the kernel or on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

LONGEST_LIMIT = 256
"""Most tokens in a translation, the end of sentence included."""


class Found(NamedTuple):
    """A hypothesis as a search leaves it."""

    tokens: NDArray[np.int32]
    """Ids, the end of sentence included where it is complete."""
    log_probabilities: NDArray[np.float32]
    score: float
    complete: bool
    attention: NDArray[np.float32] | None
    """[token, source token], on request."""


class Search(Protocol):
    """What translates sequences of ids, and says how probable given translations are."""

    def translate(
        self, sources: Sequence[Sequence[int]], limits: Sequence[int], beam: int, alignment: bool
    ) -> list[list[Found]]:
        """The hypotheses for sources (ids with the end of sentence), of at most their limits of words, the best first.

        Raises:
            ModelError: it failed.
            ResourceError: memory is short.
        """
        ...

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], alignment: bool) -> list[Found]:
        """Each source's given translation (ids with the end of sentence), with its log-probabilities.

        Raises:
            ModelError: it failed.
            ResourceError: memory is short.
        """
        ...
