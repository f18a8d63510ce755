"""The ways to run a Firefox model: in batches, on our kernel or a GPU, or one by one with Mozilla's engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tradu.errors import ModelError
from tradu.inference.engines._neural import space_of
from tradu.inference.engines._reranking import best
from tradu.inference.made import Likelihood, Made, joined, likelihood_of
from tradu.inference.marian import Files, Hypothesis, Translator, pieces_that_fit
from tradu.inference.marian.translator import LONGEST_TARGET_TOKENS, LONGEST_TOKENS

log = logging.getLogger(__name__)


class Batches:
    """All pieces of a call side by side, on our kernel or on a device; of `beam` hypotheses one is chosen."""

    def __init__(
        self,
        files: Files,
        threads: int = 1,
        device: str | None = None,
        beam: int = 1,
        reverse: Files | None = None,
    ) -> None:
        """With `reverse`, the model of the other direction chooses among the hypotheses of the beam."""
        self._translator = Translator(files, threads=threads, device=device)
        self.shareable = device is None
        self._beam, self._reverse = beam, Batches(reverse, threads, device) if reverse else None

    def run(self, texts: Sequence[str]) -> list[Made]:
        """Translate each piece, what has too many tokens for the model in smaller ones."""
        distinct = list(dict.fromkeys(texts))
        cut = pieces_that_fit(self._translator, distinct)
        flat = [piece for pieces in cut for piece in pieces]
        made = map(_made, flat, self._best([piece.strip() for piece in flat]))
        translated = {}
        for text, pieces in zip(distinct, cut, strict=True):
            parts = [next(made) for _ in pieces]
            translated[text] = joined("".join(part.text for part in parts), parts)
        return [translated[text] for text in texts]

    def _best(self, texts: Sequence[str]) -> list[Hypothesis]:
        translations = self._translator.translate(texts, beam=self._beam)
        if self._reverse is not None:
            return best(texts, translations, self._reverse.score)
        return [translation.hypotheses[0] for translation in translations]

    def score(self, sources: Sequence[str], translations: Sequence[str]) -> list[Likelihood | None]:
        """How probable each translation is; None where source or translation is longer than the model takes."""
        read, written = self._translator.tokens(sources), self._translator.target_tokens(translations)
        fit = [
            i
            for i, (ids, made) in enumerate(zip(read, written, strict=True))
            if len(ids) <= LONGEST_TOKENS and len(made) <= LONGEST_TARGET_TOKENS
        ]
        scored = self._translator.score([sources[i] for i in fit], [translations[i] for i in fit])
        known = {i: likelihood_of(each.log_probabilities) for i, each in zip(fit, scored, strict=True)}
        return [known.get(i) for i in range(len(sources))]

    def close(self) -> None:
        """Nothing is held but memory."""


class Sentences:
    """Mozilla's engine, fxtranslate. Bound to the thread that made it, as its translator is."""

    shareable = False

    def __init__(self, name: str, files: Files) -> None:
        from fxtranslate import Translator as Reference

        self._name = name
        source, target = files.source_vocabulary.read_bytes(), files.target_vocabulary.read_bytes()
        shortlist = files.shortlist.read_bytes() if files.shortlist else None
        self._translator = Reference(files.model.read_bytes(), source, target, shortlist)

    def run(self, texts: Sequence[str]) -> list[Made]:
        """Translate each piece; this engine says nothing about probabilities."""
        try:
            return [Made(str(self._translator.translate(text))) for text in texts]
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the Rust engine derives from BaseException
            log.warning("%s failed", self._name, exc_info=True)  # it quotes the text, which must not go into the ledger
            raise ModelError(f"{self._name}: {type(error).__name__}; the worker's log says more") from error

    def score(self, sources: Sequence[str], translations: Sequence[str]) -> list[Likelihood | None]:
        """This engine can't say."""
        return [None for _ in zip(sources, translations, strict=True)]

    def close(self) -> None:
        """Nothing is held but memory."""


def _made(piece: str, hypothesis: Hypothesis) -> Made:
    """A piece's translation between its space; of a blank piece the model has nothing to say."""
    likelihood = likelihood_of(hypothesis.log_probabilities) if piece.strip() else None
    return Made(space_of(piece, hypothesis.text), likelihood=likelihood)
