"""Encoder-decoder models in batches: what is too long is cut, equal texts go once, and neighbours change nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Protocol

from tradu.inference import clauses, deadline
from tradu.inference.engines._neural import space_of
from tradu.inference.made import Likelihood, Made, joined, likelihood_of

LONGEST_TOKENS = 200
"""Longest source in tokens: models of 512 positions have to have room for the translation."""
MORE_TOKENS, TIMES_TOKENS = 20, 2
"""A translation is ended at so many tokens: twice those of its source, and a few more."""
LONGEST_TARGET = TIMES_TOKENS * LONGEST_TOKENS + MORE_TOKENS
Row = list[str]
"""A source as the model reads it: its tokens with those that name languages and end it."""


class Sequences(Protocol):
    """A loaded model that turns rows of tokens into text."""

    shareable: bool
    """Whether threads may use it at the same time."""

    def rows(self, texts: Sequence[str]) -> list[Row]:
        """The tokens of each text."""
        ...

    def translate(self, rows: Sequence[Row], limit: int) -> list[tuple[str, Sequence[float]]]:
        """Translations of at most `limit` tokens, with the natural log-probability of each of their tokens."""
        ...

    def score(self, rows: Sequence[Row], translations: Sequence[str]) -> list[Sequence[float]]:
        """Those of given translations, their ends included; none where one is blank or longer than the model takes."""
        ...


class Batched:
    """Runs a model in batches of about `batch_tokens` source tokens.

    On a processor a batch holds sources of one length only: padding changes sums in their last bits, and with them,
    rarely, a word. On a GPU, where the batch itself changes those bits, sources of about one length are padded.
    """

    def __init__(self, model: Sequences, batch_tokens: int, padded: bool) -> None:
        self._model, self._batch_tokens, self._padded = model, batch_tokens, padded
        self.shareable = model.shareable

    def run(self, texts: Sequence[str]) -> list[Made]:
        """Translate each piece, what has too many tokens for the model in smaller ones.

        Raises:
            UnwantedError: nobody wants it any more.
        """
        distinct = list(dict.fromkeys(texts))
        cut = clauses.fitting(distinct, lambda some: list(map(len, self._model.rows(some))), LONGEST_TOKENS)
        cores = list(dict.fromkeys(piece.strip() for pieces in cut for piece in pieces if piece.strip()))
        rows = self._model.rows(cores)
        made: dict[str, Made] = {"": Made("")}
        for batch in self._batches([len(row) for row in rows]):
            deadline.check()
            limit = TIMES_TOKENS * max(len(rows[i]) for i in batch) + MORE_TOKENS
            for i, (text, said) in zip(batch, self._model.translate([rows[i] for i in batch], limit), strict=True):
                made[cores[i]] = Made(text, likelihood=likelihood_of(said))
        whole = {}
        for text, pieces in zip(distinct, cut, strict=True):
            parts = [made[piece.strip()] for piece in pieces]
            spaced = (space_of(piece, part.text) for piece, part in zip(pieces, parts, strict=True))
            whole[text] = joined("".join(spaced), parts)
        return [whole[text] for text in texts]

    def score(self, sources: Sequence[str], translations: Sequence[str]) -> list[Likelihood | None]:
        """How probable each translation is; None where either side is longer than the model takes."""
        rows = self._model.rows(sources)
        fit = [i for i, row in enumerate(rows) if sources[i].strip() and len(row) <= LONGEST_TOKENS]
        known: dict[int, Likelihood | None] = {}
        for batch in self._batches([len(rows[i]) for i in fit]):
            chosen = [fit[place] for place in batch]
            said = self._model.score([rows[i] for i in chosen], [translations[i].strip() for i in chosen])
            known |= {i: likelihood_of(each) for i, each in zip(chosen, said, strict=True)}
        return [known.get(i) for i in range(len(sources))]

    def close(self) -> None:
        """Nothing is held but memory."""

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """The places of what goes together; the longest first, so that what has no room is known at once."""
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        for group in [order] if self._padded else [list(same) for _, same in groupby(order, lambda i: lengths[i])]:
            at = 0
            while at < len(group):
                at_once = max(1, self._batch_tokens // lengths[group[at]])
                yield group[at : at + at_once]
                at += at_once
