"""The search on the kernel: a call's memory as the kernel reads it, shared by as many threads as are allowed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from tradu.inference.marian import kernel
from tradu.inference.marian.network import Network
from tradu.inference.marian.search import Found

SLOTS = 48
"""Hypotheses decoded side by side by one thread: a whole block of the kernel; with more, their keys leave the cache."""
GROUP_TOKENS = 1_024
"""Source tokens encoded together."""


class KernelSearch:
    """Translates on the processor. Safe to share between threads."""

    def __init__(self, network: Network, threads: int, path: str | None) -> None:
        """Bind a network to an instruction set (None: the best there is) and to the threads that a call may use.

        Raises:
            NoKernelError: the kernel is not built and can't be.
            ModelError: the processor has not that instruction set.
        """
        self._network = network
        self._threads = threads
        self._kernel = kernel.kernel(path)

    def translate(
        self, sources: Sequence[Sequence[int]], limits: Sequence[int], beam: int, alignment: bool
    ) -> list[list[Found]]:
        """The hypotheses for sources (ids with the end of sentence), of at most their limits of words, the best first.

        Raises:
            ModelError: the sources can't be this model's.
            ResourceError: memory is short.
        """
        batch = _Batch(sources, limits, beam, alignment, self._threads)
        self._run(batch)
        return [batch.found(number) for number in range(len(sources))]

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], alignment: bool) -> list[Found]:
        """Each source's given translation (ids with the end of sentence), with its log-probabilities.

        Raises:
            ModelError: the sources or translations can't be this model's.
            ResourceError: memory is short.
        """
        limits = [len(target) for target in targets]
        forced = np.fromiter((i for ids in targets for i in ids), np.int32, sum(limits))
        batch = _Batch(sources, limits, 1, alignment, self._threads, forced)
        self._run(batch)
        return [batch.found(number)[0] for number in range(len(sources))]

    def _run(self, batch: _Batch) -> None:
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


def longest_first(lengths: NDArray[np.int64]) -> NDArray[np.int32]:
    """The order in which sources are taken up: so the last to finish are short."""
    return np.argsort(-lengths, kind="stable").astype(np.int32)


class _Batch:
    """The memory of a call: what goes in, laid out as the kernel reads it, and what comes out."""

    def __init__(
        self,
        sources: Sequence[Sequence[int]],
        limits: Sequence[int],
        beam: int,
        alignment: bool,
        threads: int,
        forced: NDArray[np.int32] | None = None,
    ) -> None:
        self._sources = sources
        self._beam = beam
        self.threads = min(threads, len(sources))
        lengths = np.fromiter((len(ids) for ids in sources), np.int64, len(sources))
        self._order = longest_first(lengths)
        self._tokens = np.fromiter((i for ids in sources for i in ids), np.int32, int(lengths.sum()))
        self._offsets = _offsets(lengths)
        self._limits = np.array(limits, np.int32)
        self._forced = forced
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

    def found(self, number: int) -> list[Found]:
        """The hypotheses for one source."""
        rows = range(number * self._beam, (number + 1) * self._beam)
        return [self._hypothesis(number, rank, row) for rank, row in enumerate(rows) if self._lengths[row]]

    def _hypothesis(self, number: int, rank: int, row: int) -> Found:
        start = int(self._places[number]) + rank * int(self._limits[number])
        end = start + int(self._lengths[row])
        return Found(
            self._chosen[start:end],
            self._log_probabilities[start:end],
            float(self._scores[row]),
            bool(self._complete[row]),
            self._alignment(number, rank, end - start),
        )

    def _alignment(self, number: int, rank: int, length: int) -> NDArray[np.float32] | None:
        if self._attention is None:
            return None
        width = len(self._sources[number])
        start = int(self._attention_places[number]) + rank * int(self._limits[number]) * width
        return self._attention[start : start + length * width].reshape(length, width).copy()


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each piece of these sizes begins, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
