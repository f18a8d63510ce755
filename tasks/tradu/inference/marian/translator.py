"""Translating with a Firefox model in full batches: the package's face."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tradu.errors import ModelError
from tradu.inference.marian import kernel
from tradu.inference.marian.network import Network
from tradu.inference.marian.shortlist import read_shortlist
from tradu.inference.marian.vocabulary import Vocabulary

SLOTS = 48
"""Hypotheses decoded side by side by one thread: a whole block of the kernel; with more, their keys leave the cache."""
GROUP_TOKENS = 1_024
"""Source tokens encoded together."""
LONGEST_TOKENS = 127
"""Longest text in one piece, tokens without the end of sentence: the models lose text of longer ones."""
_LIMIT_FACTOR, _LIMIT_MORE, _LONGEST_LIMIT = 2, 4, 256
LONGEST_TARGET_TOKENS = _LONGEST_LIMIT - 1
"""Longest translation there can be, tokens without the end of sentence."""


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

    def __init__(self, files: Files, *, threads: int = 1, path: str | None = None) -> None:
        """Load a model.

        Args:
            files: where it lies.
            threads: threads a call may use.
            path: instruction set; None: the best this processor has.

        Raises:
            ModelError: a file is damaged or of another kind, or there is no kernel.
            OSError: a file can't be read.
        """
        if threads < 1:
            raise ModelError(f"{threads} threads can't translate")
        self.threads = threads
        self._kernel = kernel.kernel(path)
        self._network = Network(files.model)
        self._source = Vocabulary.read(files.source_vocabulary)
        shared = files.source_vocabulary.read_bytes() == files.target_vocabulary.read_bytes()
        self._target = self._source if shared else Vocabulary.read(files.target_vocabulary)
        for vocabulary, words in (
            (self._source, self._network.source_words),
            (self._target, self._network.target_words),
        ):
            if len(vocabulary) > words:
                raise ModelError(f"{files.model}: a vocabulary of {len(vocabulary)} pieces for a model of {words}")
        self._network.use_vocabulary(self._target.end, shared)
        if files.shortlist:
            self._network.use_shortlist(read_shortlist(files.shortlist, self._network.target_words))

    @property
    def path(self) -> str:
        """The instruction set in use."""
        return self._kernel.path

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of the texts' pieces, without the end of sentence."""
        return self._source.encode(texts)

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
        return self._decoded(_Batch(sources, beam, alignment, self.threads)) if sources else []

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
        return self._decoded(_Batch(sources, 1, alignment, self.threads, targets)) if sources else []

    def target_tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of translations' pieces, without the end of sentence."""
        return self._target.encode(texts)

    def _decoded(self, batch: _Batch) -> list[Translation]:
        if batch.threads == 1:
            self._kernel.translate(self._network.structure, batch.job)
        else:
            with ThreadPoolExecutor(batch.threads) as pool:
                calls = [
                    pool.submit(self._kernel.translate, self._network.structure, batch.job)
                    for _ in range(batch.threads)
                ]
                for call in calls:
                    call.result()
        return [batch.translation(number, self._target) for number in range(batch.sentences)]


class _Batch:
    """The memory of a call: what goes in, laid out as the kernel reads it, and what comes out."""

    def __init__(
        self,
        sources: Sequence[Sequence[int]],
        beam: int,
        alignment: bool,
        threads: int,
        targets: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self._sources = sources
        self.sentences = len(sources)
        self._beam = beam
        self.threads = min(threads, len(sources))
        lengths = np.fromiter((len(ids) for ids in sources), np.int64, len(sources))
        if lengths.min() < 1 or lengths.max() > LONGEST_TOKENS + 1:
            raise ModelError(
                f"a text of {lengths.max() - 1} tokens; the model reads {LONGEST_TOKENS}: see pieces_that_fit"
            )
        # the longest first, so that the last to finish are short
        self._order = np.argsort(-lengths, kind="stable").astype(np.int32)
        self._tokens = np.fromiter((i for ids in sources for i in ids), np.int32, int(lengths.sum()))
        self._offsets = _offsets(lengths)
        self._limits = np.minimum(_LIMIT_FACTOR * lengths + _LIMIT_MORE, _LONGEST_LIMIT).astype(np.int32)
        self._forced = None
        if targets is not None:
            self._limits, self._forced = _forced(targets, len(sources))
        self._cursor = np.zeros(1, np.int32)
        self._places = _offsets(self._limits.astype(np.int64) * beam)
        self._chosen = np.zeros(self._places[-1], np.int32)
        self._log_probabilities = np.zeros(self._places[-1], np.float32)
        self._lengths = np.zeros(len(sources) * beam, np.int32)
        self._complete = np.zeros(len(sources) * beam, np.uint8)
        self._scores = np.zeros(len(sources) * beam, np.float32)
        self._attention_places = _offsets(self._limits * lengths * beam)
        self._attention = np.zeros(self._attention_places[-1], np.float32) if alignment else None
        self.job = self._job(int(lengths.sum()))

    def _job(self, tokens: int) -> kernel.Job:
        at = kernel.pointer
        share = -(-tokens // self.threads)
        return kernel.Job(
            len(self._sources),
            at(self._order),
            at(self._tokens),
            at(self._offsets),
            at(self._limits),
            self._beam,
            SLOTS,
            min(GROUP_TOKENS, share),
            at(self._cursor),
            at(self._places),
            at(self._chosen),
            at(self._log_probabilities),
            at(self._lengths),
            at(self._complete),
            at(self._scores),
            at(self._attention_places),
            at(self._attention) if self._attention is not None else None,
            at(self._forced) if self._forced is not None else None,
        )

    def translation(self, number: int, vocabulary: Vocabulary) -> Translation:
        """The result for one source."""
        rows = range(number * self._beam, (number + 1) * self._beam)
        made = (self._hypothesis(number, rank, row, vocabulary) for rank, row in enumerate(rows) if self._lengths[row])
        return Translation(tuple(self._sources[number]), tuple(made))

    def _hypothesis(self, number: int, rank: int, row: int, vocabulary: Vocabulary) -> Hypothesis:
        start = int(self._places[number]) + rank * int(self._limits[number])
        end = start + int(self._lengths[row])
        complete = bool(self._complete[row])
        tokens = tuple(self._chosen[start : end - complete].tolist())
        return Hypothesis(
            vocabulary.decode(tokens),
            tokens,
            tuple(self._log_probabilities[start:end].tolist()),
            float(self._scores[row]),
            complete,
            self._alignment(number, rank, end - start),
        )

    def _alignment(self, number: int, rank: int, length: int) -> NDArray[np.float32] | None:
        if self._attention is None:
            return None
        width = len(self._sources[number])
        start = int(self._attention_places[number]) + rank * int(self._limits[number]) * width
        return self._attention[start : start + length * width].reshape(length, width).copy()


def _forced(targets: Sequence[Sequence[int]], sentences: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The lengths of given translations, and their ids one after the other."""
    lengths = np.fromiter((len(ids) for ids in targets), np.int32, len(targets))
    if len(targets) != sentences or min(lengths, default=1) < 1 or max(lengths, default=1) > LONGEST_TARGET_TOKENS + 1:
        raise ModelError(
            f"{len(targets)} translations of {sentences} texts, of up to {max(lengths, default=1) - 1} tokens: each "
            f"text needs one, of at most {LONGEST_TARGET_TOKENS}"
        )
    return lengths, np.fromiter((i for ids in targets for i in ids), np.int32, int(lengths.sum()))


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each piece of these sizes begins, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
