"""Firefox's neural models (Bergamot), in batches: `weights`, or options `package` or `directory`; `threads`, `backend`,
`device`.

With `candidates` it looks for so many translations, and takes the one that the model of the other direction, which is
looked for where this one lies, and the other candidates speak for: better at ten times the cost.
"""

from __future__ import annotations

import logging

from tradu.errors import ModelError
from tradu.inference import firefox_files, weights
from tradu.inference.engines._firefox_runs import Batches, Sentences
from tradu.inference.engines._neural import NeuralEngine, Runs
from tradu.inference.engines._vocabulary import alphabet
from tradu.inference.files import version_of
from tradu.inference.marian import Files
from tradu.inference.marian.build import NoKernelError, built
from tradu.inference.marian.kernel import MAX_BEAM
from tradu.inference.model import Model, Status

KERNEL, TORCH, REFERENCE = "kernel", "torch", "fxtranslate"
"""The backends: our kernel, PyTorch for GPUs, and Mozilla's engine, one sentence at a time."""
KERNEL_MARK, TORCH_MARK, RERANKING_MARK = "-k1", "-t1", "r1of"
"""End the versions of models that run on these; a number is raised when the backend's output changes."""

log = logging.getLogger(__name__)


def load(model: Model) -> NeuralEngine:
    """Load the model for the calling thread.

    Raises:
        ModelError: its files are missing or broken.
    """
    files = firefox_files.find(model)
    if files is None:
        raise ModelError(f"{model.name} is not installed: {firefox_files.how_to_add(model)}")
    try:
        return NeuralEngine(model.source, alphabet(files.source_vocabulary.read_bytes()), _runs(model, files))
    except (OSError, ValueError) as error:
        raise ModelError(f"{model.name}: can't be loaded from {files.model.parent}: {error}") from error


def status(model: Model) -> Status:
    """Whether the model's files are here. The version is a digest of them, and the backend: their outputs differ.

    One that chooses among candidates needs the other direction too, and a backend that finds several.
    """
    several, mark = _candidates(model) > 1, _mark(model)
    if several and not mark:
        return Status(False, "", f"`make setup` compiles the {KERNEL}, which alone (or {TORCH}) finds candidates")
    if model.weights:
        seen = weights.look(model)
        return Status(seen.there, seen.digest and seen.digest + mark, seen.how_to_add)
    found = [firefox_files.find(model), *([firefox_files.find_reverse(model)] if several else [])]
    if None in found:
        missing = model if found[0] is None else firefox_files.reverse(model)
        return Status(False, "", firefox_files.how_to_add(missing))
    every = [file for files in found if files is not None for file in firefox_files.every(files)]
    return Status(True, version_of(every) + mark, firefox_files.how_to_add(model))


def _candidates(model: Model) -> int:
    """How many translations are looked for.

    Raises:
        ModelError: no number that the kernel can do.
    """
    asked = model.options.get("candidates", "1")
    if not asked.isdecimal() or not 1 <= int(asked) <= MAX_BEAM:
        raise ModelError(f"{model.name}: candidates must be a number from 1 to {MAX_BEAM}, not {asked!r}")
    return int(asked)


def _mark(model: Model) -> str:
    """What the backend adds to a version; float16 on a GPU and float32 on a processor are told apart."""
    backend, candidates = model.options.get("backend", KERNEL), _candidates(model)
    chosen = f"-{RERANKING_MARK}{candidates}" if candidates > 1 else ""
    if backend == TORCH:
        return f"{TORCH_MARK}-{_device(model).partition(':')[0]}{chosen}"
    return KERNEL_MARK + chosen if backend == KERNEL and built() is not None else ""


def _device(model: Model) -> str:
    return model.options.get("device", "cuda")


def _runs(model: Model, files: Files) -> Runs:
    """The backend asked for; where our kernel can't be had, Mozilla's engine, which is slower."""
    backend, threads = model.options.get("backend", KERNEL), model.options.get("threads", "1")
    if backend not in (KERNEL, TORCH, REFERENCE):
        raise ModelError(f"{model.name}: there is no backend {backend!r}; there are: {KERNEL}, {TORCH}, {REFERENCE}")
    if not threads.isdecimal() or int(threads) < 1:
        raise ModelError(f"{model.name}: threads must be a number from 1 on, not {threads!r}")
    candidates = _candidates(model)
    reverse = firefox_files.find_reverse(model) if candidates > 1 else None
    if candidates > 1 and (reverse is None or backend == REFERENCE):
        raise ModelError(f"{model.name} is not installed: {status(model).how_to_add}")
    if backend == REFERENCE:
        return Sentences(model.name, files)
    if backend == TORCH:
        return Batches(files, 1, _device(model), candidates, reverse)
    try:
        return Batches(files, int(threads), None, candidates, reverse)
    except NoKernelError as error:
        if candidates > 1:
            raise
        log.warning("%s runs one sentence at a time, several times slower: %s", model.name, error)
        return Sentences(model.name, files)
