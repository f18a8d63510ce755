"""The search on a device: sentences of about one length side by side in lanes; they leave as they finish, others enter.

Every shape depends on the length of the sentence alone, so its neighbours change nothing in how it is computed. On a
GPU eight steps are one CUDA graph: once in eight words the host looks which sentences are done.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tradu.errors import ModelError, ResourceError
from tradu.inference.marian.device import DeviceNetwork
from tradu.inference.marian.network import Network
from tradu.inference.marian.search import LONGEST_LIMIT, Found

LANES = {"cuda": 1_024, "cpu": 32}
"""Hypotheses decoded side by side, by kind of device: on a GPU enough to fill it, on a processor few are as fast."""
LENGTHS = (16, 32, 64, 128)
"""Source tokens that lanes have room for; a sentence goes where it just fits."""
FEWEST_LANES = 32
"""Where memory is short half the lanes are tried, and half of those, down to these."""
STEPS = 8
"""Words decoded between two looks at what is finished."""
_COMPLETE, _STOPPED = 1, 2


class _Work(NamedTuple):
    """What a call asks for."""

    sources: Sequence[Sequence[int]]
    limits: Sequence[int]
    """Most words of each translation."""
    targets: Sequence[Sequence[int]] | None = None
    """Translations to be scored instead of made."""


class DeviceSearch:
    """Translates on a device. Threads may share it: their calls take turns."""

    def __init__(self, network: Network, device: str) -> None:
        """Copy the weights to the device.

        Raises:
            ModelError: there is no such device, or this PyTorch has no support for it.
            ResourceError: it has no room for the weights.
        """
        try:
            self._network = DeviceNetwork(network, torch.device(device))
        except torch.OutOfMemoryError as error:
            raise ResourceError(f"{device} has no room for the model: {error}") from error
        except (RuntimeError, AssertionError) as error:
            raise ModelError(f"PyTorch can't use the device {device!r}: {error}") from error
        self._count = LANES[self._network.device.type]
        self._lock = threading.Lock()
        self._lanes: dict[tuple[int, int, bool, bool], _Lanes] = {}

    def translate(
        self, sources: Sequence[Sequence[int]], limits: Sequence[int], beam: int, alignment: bool
    ) -> list[list[Found]]:
        """The hypotheses for sources (ids with the end of sentence), of at most their limits of words, the best first.

        Raises:
            ModelError: the sources can't be this model's, or the device failed.
            ResourceError: the device's memory is short.
        """
        return self._run(_Work(sources, limits), beam, alignment)

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], alignment: bool) -> list[Found]:
        """Each source's given translation (ids with the end of sentence), with its log-probabilities.

        Raises:
            ModelError: the sources or translations can't be this model's, or the device failed.
            ResourceError: the device's memory is short.
        """
        work = _Work(sources, [len(target) for target in targets], targets)
        return [hypotheses[0] for hypotheses in self._run(work, 1, alignment)]

    def _run(self, work: _Work, beam: int, alignment: bool) -> list[list[Found]]:
        _check(work.sources, len(self._network.source))
        _check(work.targets or [], len(self._network.target))
        with self._lock, torch.inference_mode():
            while True:
                try:
                    return self._decoded(work, beam, alignment)
                except torch.OutOfMemoryError as error:
                    if self._count <= FEWEST_LANES:
                        raise ResourceError(f"{self._network.device} is out of memory: {error}") from error
                    self._count //= 2
                except RuntimeError as error:
                    raise ModelError(f"{self._network.device} failed: {error}") from error

    def _decoded(self, work: _Work, beam: int, alignment: bool) -> list[list[Found]]:
        found: list[list[Found]] = [[] for _ in work.sources]
        try:
            for length, numbers in _by_length(work.sources).items():
                key = (length, beam, alignment, work.targets is not None)
                if key not in self._lanes:
                    self._lanes[key] = _Lanes(self._network, self._count, *key)
                self._lanes[key].run(work, numbers, found)
        except BaseException:
            self._lanes.clear()  # sentences were left in them, or they are too many
            raise
        return found


def _check(sequences: Sequence[Sequence[int]], words: int) -> None:
    if not all(0 <= min(ids) <= max(ids) < words for ids in sequences):
        raise ModelError("a text has a word that the model does not know")


def _by_length(sources: Sequence[Sequence[int]]) -> dict[int, list[int]]:
    """The numbers of the sources for each of LENGTHS, the longest first."""
    groups: dict[int, list[int]] = {}
    for number in sorted(range(len(sources)), key=lambda n: -len(sources[n])):
        length = next(length for length in LENGTHS if len(sources[number]) <= length)
        groups.setdefault(length, []).append(number)
    return groups


class _Lanes:
    """Sentences of up to `length` tokens being decoded. Tensors are [sentence, hypothesis, ...]."""

    def __init__(
        self, network: DeviceNetwork, count: int, length: int, beam: int, alignment: bool, forced: bool
    ) -> None:
        self._network = network
        self._beam = beam
        self._rows = rows = max(1, count // beam)
        self._group = max(1, rows // 4)

        def numbers(*shape: int, of: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(*shape, dtype=of, device=network.device)

        width = network.dim // network.heads
        self._last, self._step, self._limit = numbers(rows, beam), numbers(rows), numbers(rows)
        self._live, self._finished = numbers(rows, beam, of=torch.bool), numbers(rows)
        self._total = numbers(rows, beam, of=torch.float32)
        self._cells = numbers(network.layers, rows, beam, network.dim, of=torch.float32)
        self._context = numbers(network.layers, 2, rows, network.heads, length, width, of=network.dtype)
        self._mask = torch.ones(rows, 1, 1, length, dtype=torch.bool, device=network.device)
        self._words = numbers(rows, len(network.target), of=network.dtype)
        self._lane = torch.arange(rows, device=network.device)
        self._forced = numbers(rows, LONGEST_LIMIT + 1) if forced else None
        # what was chosen, at each step; a lane that is done writes beyond its last one
        shape = rows, LONGEST_LIMIT + 1, beam
        self._chosen, self._parents = numbers(*shape, of=torch.int32), numbers(*shape, of=torch.int32)
        self._ended = numbers(*shape, of=torch.uint8)
        self._each, self._totals = numbers(*shape, of=torch.float32), numbers(*shape, of=torch.float32)
        self._seen = numbers(rows, beam, length, of=torch.float32) if alignment else None
        self._all_seen = numbers(*shape, length, of=torch.float32) if alignment else None
        self._tokens, self._lengths = numbers(self._group, length), numbers(self._group) + 1
        self._encoded = numbers(network.layers, 2, self._group, network.heads, length, width, of=network.dtype)
        self._encode = _captured(self._encode_group, network.device)
        self._decode = _captured(self._decode_steps, network.device)

    def run(self, work: _Work, numbers: Sequence[int], found: list[list[Found]]) -> None:
        """Translate the sources of these numbers into `found`."""
        waiting = list(reversed(numbers))
        inside: dict[int, int] = {}
        while waiting or inside:
            free = [row for row in range(self._rows) if row not in inside]
            # a group is encoded when a quarter of the lanes stand empty: often enough, and with little padding
            while waiting and (len(free) >= self._group or not inside):
                group = [waiting.pop() for _ in range(min(self._group, len(free), len(waiting)))]
                rows, free = free[: len(group)], free[len(group) :]
                self._enter(rows, work, group)
                inside |= dict(zip(rows, group, strict=True))
            self._decode()
            live = self._live.any(1).cpu().numpy()
            done = [row for row in inside if not live[row]]
            lengths = [len(work.sources[inside[row]]) for row in done]
            for row, hypotheses in zip(done, self._leave(done, lengths), strict=True):
                found[inside.pop(row)] = hypotheses

    def _enter(self, rows: Sequence[int], work: _Work, group: Sequence[int]) -> None:
        """Encode the sentences of these numbers and put them into free rows."""
        device, count = self._network.device, len(rows)
        tokens = np.zeros(self._tokens.shape, np.int64)
        lengths = np.ones(self._group, np.int64)
        for row, number in enumerate(group):
            source = work.sources[number]
            tokens[row, : len(source)] = source
            lengths[row] = len(source)
        self._tokens.copy_(torch.from_numpy(tokens))
        self._lengths.copy_(torch.from_numpy(lengths))
        self._encode()
        at = torch.tensor(rows, device=device)
        there = torch.arange(self._tokens.shape[1], device=device) < self._lengths[:count, None]
        self._context[:, :, at] = self._encoded[:, :, :count]
        self._mask[at] = there[:, None, None]
        forced = None
        if self._forced is not None and work.targets is not None:
            forced = torch.full((count, self._forced.shape[1]), self._network.end)
            for row, number in enumerate(group):
                forced[row, : work.limits[number]] = torch.tensor(work.targets[number])
            forced = forced.to(device)
            self._forced[at] = forced
        self._words[at] = self._network.allowed(self._tokens[:count], self._lengths[:count], forced)
        self._limit[at] = torch.tensor([work.limits[number] for number in group], device=device)
        for state in (self._last, self._step, self._finished, self._total):
            state[at] = 0
        self._cells[:, at] = 0
        self._live[at] = torch.arange(self._beam, device=device) == 0

    def _encode_group(self) -> None:
        self._encoded.copy_(self._network.encode(self._tokens, self._lengths))

    def _decode_steps(self) -> None:
        for _ in range(STEPS):
            self._decode_step()

    def _decode_step(self) -> None:
        """One word more for every live hypothesis; see `choose_many` of the kernel's search.h."""
        beam, end = self._beam, self._network.end
        top = self._network.decode(self._last, self._step, self._cells, self._context, self._mask, self._seen)
        logits = self._network.words(top) + self._words[:, None]
        sure = logits.log_softmax(-1, dtype=torch.float32)
        if self._forced is not None:
            words = self._forced[self._lane, self._step][:, None, None]
            each = sure.gather(-1, words)
        else:
            each, words = sure.max(-1, keepdim=True) if beam == 1 else sure.topk(beam, -1)
        totals = torch.where(self._live, self._total, -math.inf)[..., None] + each
        best, index = totals.flatten(1).topk(beam, -1)
        words, each = words.flatten(1).gather(1, index), each.flatten(1).gather(1, index)
        parents = index // beam
        used = torch.arange(beam, device=index.device) < beam - self._finished[:, None]
        used &= best > -math.inf
        complete = used & (words == end)
        stopped = used & ~complete & (self._step + 1 == self._limit)[:, None]
        self._record(words, parents, complete * _COMPLETE + stopped * _STOPPED, each, best)
        self._step += self._live.any(1)
        self._finished += (complete | stopped).sum(1)
        self._live.copy_(used & ~complete & ~stopped)
        self._total.copy_(torch.where(self._live, best, 0))
        self._last.copy_(words)
        if beam > 1:
            self._cells.copy_(self._cells.gather(2, parents[None, :, :, None].expand_as(self._cells)))

    def _record(self, words: Tensor, parents: Tensor, ended: Tensor, each: Tensor, totals: Tensor) -> None:
        at = self._lane, self._step
        self._chosen[at] = words.to(torch.int32)
        self._parents[at] = parents.to(torch.int32)
        self._ended[at] = ended.to(torch.uint8)
        self._each[at], self._totals[at] = each, totals
        if self._all_seen is not None and self._seen is not None:
            self._all_seen[at] = self._seen

    def _leave(self, rows: Sequence[int], lengths: Sequence[int]) -> list[list[Found]]:
        """The hypotheses of rows that are done, the best first; `lengths` are those of their sources."""
        if not rows:
            return []
        at = torch.tensor(rows, device=self._network.device)
        steps = self._step[at].cpu().numpy()
        longest = int(steps.max())
        kept = (self._chosen, self._parents, self._ended, self._each, self._totals)
        chosen, parents, ended, each, totals = (t[at, :longest].cpu().numpy() for t in kept)
        seen = None if self._all_seen is None else self._all_seen[at, :longest].cpu().numpy()
        ended[np.arange(longest)[None] >= steps[:, None]] = 0
        row, step, rank = np.nonzero(ended)
        tokens, sure, attention = _traced(row, step, rank, chosen, parents, each, seen)
        hypotheses: list[list[Found]] = [[] for _ in rows]
        scores = totals[row, step, rank] / (step + 1)
        for i in np.argsort(-scores, kind="stable"):
            end = int(step[i]) + 1
            found = Found(
                tokens[i, :end],
                sure[i, :end],
                float(scores[i]),
                bool(ended[row[i], step[i], rank[i]] == _COMPLETE),
                None if attention is None else attention[i, :end, : lengths[row[i]]].copy(),
            )
            hypotheses[row[i]].append(found)
        return hypotheses


def _traced(
    row: NDArray[np.int64],
    step: NDArray[np.int64],
    rank: NDArray[np.int64],
    chosen: NDArray[np.int32],
    parents: NDArray[np.int32],
    each: NDArray[np.float32],
    seen: NDArray[np.float32] | None,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32] | None]:
    """Hypotheses followed back from their last choices: words, log-probabilities and attention, [hypothesis, step]."""
    shape = len(row), chosen.shape[1]
    words, sure = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    attention = None if seen is None else np.zeros((*shape, seen.shape[-1]), np.float32)
    who = rank.astype(np.int64)
    for back in reversed(range(shape[1])):
        on = np.nonzero(back <= step)[0]
        at = row[on], back, who[on]
        words[on, back], sure[on, back] = chosen[at], each[at]
        who[on] = parents[at]
        if attention is not None and seen is not None:  # it lies with the hypothesis that was continued
            attention[on, back] = seen[row[on], back, who[on]]
    return words, sure, attention


def _captured(run: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """On a GPU the function as a CUDA graph, which must find its tensors where they are now; else the function."""
    if device.type != "cuda":
        return run
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries are set up in the first calls, which no graph can hold
            for _ in range(2):
                run()
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            run()
    replay: Callable[[], None] = graph.replay
    return replay
