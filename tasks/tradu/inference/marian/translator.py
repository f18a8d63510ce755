"""Translating with a Firefox model in full batches: the package's face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tradu.errors import ModelError
from tradu.inference.marian import kernel
from tradu.inference.marian.kernel_search import KernelSearch
from tradu.inference.marian.network import Network
from tradu.inference.marian.search import LONGEST_LIMIT, Found, Search
from tradu.inference.marian.shortlist import read_shortlist
from tradu.inference.marian.vocabulary import Vocabulary

LONGEST_TOKENS = 127
"""Longest text in one piece, tokens without the end of sentence: the models lose text of longer ones."""
LONGEST_TARGET_TOKENS = LONGEST_LIMIT - 1
"""Longest translation there can be, tokens without the end of sentence."""
_LIMIT_FACTOR, _LIMIT_MORE = 2, 4


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One translation of a text."""

    text: str
    tokens: tuple[int, ...]
    """Ids of the pieces, the end of sentence left out."""
    log_probabilities: tuple[float, ...]
    """Natural logarithms, one a token; where `complete` one more, of the end of sentence."""
    score: float
    """The mean of the log-probabilities."""
    complete: bool
    """Whether the model came to an end by itself; False: it was stopped at the limit, and text may be missing."""
    alignment: NDArray[np.float32] | None = None
    """[log-probability, source token]: where the model looked as it wrote each token; rows sum to 1. On request."""


@dataclass(frozen=True, slots=True)
class Translation:
    """The hypotheses for a text, the best first; there is at least one."""

    source_tokens: tuple[int, ...]
    """Ids of the source's pieces, the end of sentence included."""
    hypotheses: tuple[Hypothesis, ...]

    @property
    def text(self) -> str:
        """The best translation."""
        return self.hypotheses[0].text

    @property
    def log_probabilities(self) -> tuple[float, ...]:
        """Those of the best translation."""
        return self.hypotheses[0].log_probabilities


@dataclass(frozen=True, slots=True)
class Files:
    """A model in the layout of Mozilla's downloads."""

    model: Path
    source_vocabulary: Path
    target_vocabulary: Path
    shortlist: Path | None = None


class Translator:
    """A model ready to translate. Safe to share between threads; the weights are shared between processes."""

    def __init__(self, files: Files, *, threads: int = 1, path: str | None = None, device: str | None = None) -> None:
        """Load a model.

        Args:
            files: where it lies.
            threads: threads a call may use.
            path: instruction set; None: the best this processor has.
            device: a device of PyTorch to run on, such as "cuda"; None: the kernel, to which alone the others apply.

        Raises:
            ModelError: a file is damaged or of another kind, or there is no kernel or no such device.
            OSError: a file can't be read.
            ResourceError: the device has no room for the model.
        """
        if threads < 1:
            raise ModelError(f"{threads} threads can't translate")
        network = Network(files.model)
        self._source = Vocabulary.read(files.source_vocabulary)
        shared = files.source_vocabulary.read_bytes() == files.target_vocabulary.read_bytes()
        self._target = self._source if shared else Vocabulary.read(files.target_vocabulary)
        for vocabulary, words in (
            (self._source, network.source_words),
            (self._target, network.target_words),
        ):
            if len(vocabulary) > words:
                raise ModelError(f"{files.model}: a vocabulary of {len(vocabulary)} pieces for a model of {words}")
        network.use_vocabulary(self._target.end, shared)
        if files.shortlist:
            network.use_shortlist(read_shortlist(files.shortlist, network.target_words))
        self._search = KernelSearch(network, threads, path) if device is None else _device_search(network, device)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of the texts' pieces, without the end of sentence."""
        return self._source.encode(texts)

    def target_tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of translations' pieces, without the end of sentence."""
        return self._target.encode(texts)

    def translate(self, texts: Sequence[str], *, beam: int = 1, alignment: bool = False) -> list[Translation]:
        """Translate texts, each by itself whatever its neighbours.

        Args:
            texts: one segment each, of at most LONGEST_TOKENS tokens; `pieces_that_fit` cuts longer ones.
            beam: hypotheses kept and given back, 1 to kernel.MAX_BEAM; 1 is greedy.
            alignment: whether to give the alignment with the source.

        Raises:
            ModelError: a text has more tokens than the model reads, of which it would lose some.
            ResourceError: memory is short.
        """
        end = self._source.end
        return self.translate_tokens(
            [[*ids, end] for ids in self._source.encode(texts)], beam=beam, alignment=alignment
        )

    def translate_tokens(
        self, sources: Sequence[Sequence[int]], *, beam: int = 1, alignment: bool = False
    ) -> list[Translation]:
        """Translate sequences of ids, each with its end of sentence; see `translate`."""
        if not 1 <= beam <= kernel.MAX_BEAM:
            raise ModelError(f"a beam of {beam}: it must be 1 to {kernel.MAX_BEAM}")
        if not sources:
            return []
        _check_sources(sources)
        limits = [min(_LIMIT_FACTOR * len(source) + _LIMIT_MORE, LONGEST_LIMIT) for source in sources]
        found = self._search.translate(sources, limits, beam, alignment)
        return [
            Translation(tuple(source), tuple(self._hypothesis(one) for one in hypotheses))
            for source, hypotheses in zip(sources, found, strict=True)
        ]

    def score(self, sources: Sequence[str], targets: Sequence[str], *, alignment: bool = False) -> list[Translation]:
        """How probable given translations are: each comes back with the log-probabilities of its tokens.

        What the model itself made has the log-probabilities that it had then. The words of a given translation are
        allowed beside those of the shortlist.

        Args:
            sources: one segment each, of at most LONGEST_TOKENS tokens.
            targets: a translation of each, of at most LONGEST_TARGET_TOKENS tokens.
            alignment: whether to give the alignment with the source.

        Raises:
            ModelError: a text has more tokens than the model reads or writes.
            ResourceError: memory is short.
        """
        ends = self._source.end, self._target.end
        return self.score_tokens(
            [[*ids, ends[0]] for ids in self._source.encode(sources)],
            [[*ids, ends[1]] for ids in self._target.encode(targets)],
            alignment=alignment,
        )

    def score_tokens(
        self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], *, alignment: bool = False
    ) -> list[Translation]:
        """Score sequences of ids, all with their end of sentence; see `score`."""
        longest = max(map(len, targets), default=1)
        if len(targets) != len(sources) or not all(targets) or longest > LONGEST_TARGET_TOKENS + 1:
            raise ModelError(
                f"{len(targets)} translations of {len(sources)} texts, of up to {longest - 1} tokens: each text needs "
                f"one, of at most {LONGEST_TARGET_TOKENS}"
            )
        if not sources:
            return []
        _check_sources(sources)
        found = self._search.score(sources, targets, alignment)
        return [
            Translation(tuple(source), (self._hypothesis(one),)) for source, one in zip(sources, found, strict=True)
        ]

    def _hypothesis(self, found: Found) -> Hypothesis:
        tokens = tuple(found.tokens[: len(found.tokens) - found.complete].tolist())
        return Hypothesis(
            self._target.decode(tokens),
            tokens,
            tuple(found.log_probabilities.tolist()),
            found.score,
            found.complete,
            found.attention,
        )


def _check_sources(sources: Sequence[Sequence[int]]) -> None:
    longest = max(map(len, sources))
    if not all(sources) or longest > LONGEST_TOKENS + 1:
        raise ModelError(f"a text of {longest - 1} tokens; the model reads {LONGEST_TOKENS}: see pieces_that_fit")


def _device_search(network: Network, device: str) -> Search:
    try:
        from tradu.inference.marian.device_search import DeviceSearch
    except ImportError as error:
        raise ModelError(f"the device {device!r} needs PyTorch: python -m pip install torch ({error})") from error
    return DeviceSearch(network, device)
