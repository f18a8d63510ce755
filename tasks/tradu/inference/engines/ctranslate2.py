"""Models converted for CTranslate2 (OPUS-MT, M2M-100, NLLB-200, MADLAD-400): int8 on a processor, float16 on CUDA.

`weights` is what the converter wrote, with the SentencePiece files. Options: `kind` (`opus-mt`, `m2m100`, `nllb`,
`madlad`), `beam`, `threads`, `device`, `compute`; `source_token` and `target_token` where the languages are named
otherwise.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from tradu.errors import ModelError, ResourceError
from tradu.inference import weights
from tradu.inference.engines._languages import OPUS_MT, kind_of, prefixes
from tradu.inference.engines._neural import NeuralEngine
from tradu.inference.engines._sequences import LONGEST_TARGET, Batched, Row
from tradu.inference.engines._vocabulary import alphabet
from tradu.inference.model import Model, Status

MARK = "-ct1"
"""Ends versions, with what else changes the output; the number is raised when this module's output changes."""
END = "</s>"
_PIECES = {OPUS_MT: ("source.spm", "target.spm"), "madlad": ("spiece.model", "spiece.model")}
BATCH_TOKENS = 2_048
"""Source tokens at once, where the entry has no `max_batch_tokens`."""
_SHARED = "sentencepiece.bpe.model"


class Converted:
    """A converted model with its vocabularies."""

    shareable = True

    def __init__(self, model: Model, folder: Path) -> None:
        import ctranslate2
        from sentencepiece import SentencePieceProcessor

        source, target = _vocabularies(model, folder)
        self._source = SentencePieceProcessor(model_file=str(source))
        self._target = SentencePieceProcessor(model_file=str(target))
        self._before, self._prefix = prefixes(model, _words(folder))
        self._end = [] if json.loads((folder / "config.json").read_text())["add_source_eos"] else [END]
        self._beam = _number(model, "beam", 2)
        device, _, index = model.options.get("device", "cpu").partition(":")
        self._exact = device == "cpu"
        self._translator = ctranslate2.Translator(
            str(folder),
            device=device,
            device_index=int(index or 0),
            compute_type=_compute(model),
            inter_threads=len(os.sched_getaffinity(0)) if device == "cpu" else 1,  # they share the weights
            intra_threads=_number(model, "threads", 1),
        )

    def rows(self, texts: Sequence[str]) -> list[Row]:
        """The tokens of each text, with those that name a language and end it."""
        return [[*self._before, *pieces, *self._end] for pieces in self._source.encode(list(texts), out_type=str)]

    def translate(self, rows: Sequence[Row], limit: int) -> list[tuple[str, Sequence[float]]]:
        """The best translation of each row, with the log-probabilities of its tokens."""
        prefixes = [self._prefix] * len(rows) if self._prefix else None
        with _memory():
            made = self._translator.translate_batch(
                rows, prefixes, beam_size=self._beam, max_input_length=0, max_decoding_length=limit
            )
        tokens = [result.hypotheses[0][len(self._prefix) :] for result in made]
        return list(zip(map(self._text, tokens), self._said(rows, tokens), strict=True))

    def score(self, rows: Sequence[Row], translations: Sequence[str]) -> list[Sequence[float]]:
        """The log-probabilities of the tokens of given translations, their ends included."""
        return self._said(rows, self._target.encode(list(translations), out_type=str))

    def _said(self, rows: Sequence[Row], tokens: Sequence[list[str]]) -> list[Sequence[float]]:
        """Log-probabilities; on a processor those of one length go together, so that nothing is padded."""
        fit = [i for i, each in enumerate(tokens) if 0 < len(each) <= LONGEST_TARGET]
        said: dict[int, Sequence[float]] = {}
        length = [len(each) if self._exact else 0 for each in tokens]
        for _, same in groupby(sorted(fit, key=length.__getitem__), length.__getitem__):
            chosen = list(same)
            whole = [[*self._prefix, *tokens[i]] for i in chosen]
            with _memory():
                scored = self._translator.score_batch(
                    [rows[i] for i in chosen], whole, max_input_length=0, offset=len(self._prefix)
                )
            said |= {i: each.log_probs for i, each in zip(chosen, scored, strict=True)}
        return [said.get(i, ()) for i in range(len(tokens))]

    def _text(self, tokens: Sequence[str]) -> str:
        ids = [self._target.piece_to_id(token) for token in tokens]
        return str(self._target.decode([i for i in ids if not self._target.is_unknown(i)]))


@contextmanager
def _memory() -> Iterator[None]:
    """Says which failures are for want of memory."""
    try:
        yield
    except RuntimeError as error:
        if "out of memory" in str(error):
            raise ResourceError(f"CTranslate2: {error}") from error
        raise


def load(model: Model) -> NeuralEngine:
    """Load the model for the calling thread.

    Raises:
        ModelError: it is missing or broken, or knows not both languages.
        ResourceError: there is not enough memory.
    """
    if not (there := status(model)).installed:
        raise ModelError(f"{model.name} is not installed: {there.how_to_add}")
    folder = weights.fetch(model)
    needed = [folder / "model.bin", folder / "config.json", *_vocabularies(model, folder)]
    if missing := sorted({file.name for file in needed if not file.is_file()}):
        raise ModelError(f"{model.name}: {folder} lacks {', '.join(missing)} (docs/engines.md says how to convert)")
    try:
        runs = Batched(Converted(model, folder), model.max_batch_tokens or BATCH_TOKENS, model.device != "cpu")
        return NeuralEngine(model.source, alphabet(_vocabularies(model, folder)[0].read_bytes()), runs)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{model.name}: can't be loaded from {folder}: {error}") from error


def status(model: Model) -> Status:
    """Whether CTranslate2 and the weights are here; the version is a digest of them, and of what changes output."""
    made_by = f"{MARK}-{kind_of(model)}-{_compute(model)}-b{_number(model, 'beam', 2)}"
    if find_spec("ctranslate2") is None:
        return Status(False, "", "pip install 'ctranslate2>=4.8'")
    if not model.weights:
        return Status(False, "", "say where the converted model lies: `weights` of its entry")
    seen = weights.look(model)
    return Status(seen.there, seen.digest and seen.digest + made_by, seen.how_to_add)


def _vocabularies(model: Model, folder: Path) -> tuple[Path, Path]:
    """The SentencePiece files of source and target."""
    source, target = _PIECES.get(kind_of(model), (_SHARED, _SHARED))
    return folder / source, folder / target


def _words(folder: Path) -> frozenset[str]:
    """The source vocabulary of the converted model."""
    for name in ("shared_vocabulary.json", "source_vocabulary.json"):
        if (file := folder / name).is_file():
            return frozenset(json.loads(file.read_text(encoding="utf-8")))
    raise ValueError("no vocabulary: neither shared_vocabulary.json nor source_vocabulary.json")


def _compute(model: Model) -> str:
    return model.options.get("compute", "int8" if model.device == "cpu" else "float16")


def _number(model: Model, option: str, usual: int) -> int:
    asked = model.options.get(option, str(usual))
    if not asked.isdecimal() or int(asked) < 1:
        raise ModelError(f"{model.name}: {option} must be a number from 1 on, not {asked!r}")
    return int(asked)
