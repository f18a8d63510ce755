"""What an engine makes of a text: the translation, and what the engine itself can say about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How probable a model finds a translation: natural logarithms, a token."""

    log_probability: float
    """The mean."""
    lowest: float
    """That of the token it finds least probable."""
    tokens: int
    """How many tokens these are of, ends of sentences included."""


@dataclass(frozen=True, slots=True)
class Made:
    """A translation, with the engine's evidence where it has any."""

    text: str
    unknown: tuple[str, ...] = ()
    """Words the engine did not know and left as they were."""
    likelihood: Likelihood | None = None
    """None: the engine has no probabilities, or nothing of the text went through it."""
    failure: str = ""
    """Why the engine could not translate this text, where it could others; the text is then not translated."""


def likelihood_of(log_probabilities: Sequence[float]) -> Likelihood | None:
    """From the log-probabilities of a translation's tokens; None where there are none.

    Rounding lifts certain tokens a little above 0, which no logarithm of a probability is.
    """
    if not log_probabilities:
        return None
    values = [min(0.0, value) for value in log_probabilities]
    return Likelihood(sum(values) / len(values), min(values), len(values))


def together(likelihoods: Iterable[Likelihood | None]) -> Likelihood | None:
    """That of a text in pieces: the mean over all tokens, and the lowest of all; of those pieces that have one."""
    known = [each for each in likelihoods if each is not None]
    if len(known) < 2:
        return known[0] if known else None
    tokens = sum(each.tokens for each in known)
    total = sum(each.log_probability * each.tokens for each in known)
    return Likelihood(total / tokens, min(each.lowest for each in known), tokens)


def joined(text: str, parts: Sequence[Made]) -> Made:
    """A text made of pieces, with the evidence of all of them."""
    unknown = tuple(word for part in parts for word in part.unknown)
    failure = next((part.failure for part in parts if part.failure), "")
    return Made(text, unknown, together(part.likelihood for part in parts), failure)
