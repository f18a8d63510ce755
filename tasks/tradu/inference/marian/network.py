"""From a model file to the kernel's structures: shapes are checked, and weights stay where they lie in the file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from tradu.inference.marian import kernel
from tradu.inference.marian.format import DESCRIPTION, INTGEMM8, File
from tradu.inference.marian.shortlist import Shortlist

POSITIONS = 1_024
"""Rows of sinusoids: the most tokens of a source or a translation, far above what the models were trained on."""
_MOST_LAYERS = 64
_SUPPORTED = {
    "type": "transformer",
    "transformer-decoder-autoreg": "rnn",
    "dec-cell": "ssru",
    "transformer-ffn-activation": "relu",
    "transformer-preprocess": "",
    "transformer-postprocess": "dan",
    "transformer-train-position-embeddings": False,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a network."""

    dim: int
    hidden: int
    heads: int
    encoder_layers: int
    decoder_layers: int


class Network:
    """A loaded model as the kernel wants it, with all memory it points to."""

    def __init__(self, path: Path) -> None:
        """Map a model file.

        Raises:
            ModelError: it is damaged, or a network this engine can't run.
            OSError: it can't be read.
        """
        self._file = File(path)
        self._kept: list[object] = [self._file]
        self.shape = _shape(self._file)
        self.structure = kernel.Model()
        self._fill_shape()
        self._fill_embeddings()
        self._fill_layers()

    @property
    def source_words(self) -> int:
        """Size of the source vocabulary."""
        return int(self.structure.source_words)

    @property
    def target_words(self) -> int:
        """Size of the target vocabulary."""
        return int(self.structure.target_words)

    def use_vocabulary(self, end: int, shared: bool) -> None:
        """Say which id ends a sentence, and whether source words may be copied."""
        self.structure.end, self.structure.shared = end, int(shared)

    def use_shortlist(self, shortlist: Shortlist) -> None:
        """Let each sentence use only the words the list gives it."""
        self.structure.list_offsets = self._keep(shortlist.offsets)
        self.structure.lists = self._keep(shortlist.words)
        self.structure.list_words = len(shortlist.offsets)
        self.structure.first_words = shortlist.first

    def _keep(self, array: NDArray[np.generic]) -> int:
        self._kept.append(array)
        return kernel.pointer(array)

    def _fill_shape(self) -> None:
        shape, structure = self.shape, self.structure
        structure.dim, structure.hidden, structure.heads = shape.dim, shape.hidden, shape.heads
        structure.encoder_layers, structure.decoder_layers = shape.encoder_layers, shape.decoder_layers
        structure.positions, structure.position_rows = self._keep(positions(shape.dim)), POSITIONS

    def _fill_embeddings(self) -> None:
        shared = "Wemb" in self._file.items
        target_name, source_name = ("Wemb", "Wemb") if shared else ("decoder_Wemb", "encoder_Wemb")
        structure = self.structure
        target, target_multiplier = self._embedding(target_name)
        source, source_multiplier = (target, target_multiplier) if shared else self._embedding(source_name)
        structure.target_words, structure.source_words = len(target), len(source)
        structure.target_embeddings, structure.source_embeddings = self._keep(target), self._keep(source)
        structure.target_step = np.float32(1) / np.float32(target_multiplier)
        structure.source_step = np.float32(1) / np.float32(source_multiplier)
        bias = self._file.floats("decoder_ff_logit_out_b", len(target))
        structure.logits = self._prepared(target, target_multiplier, self._output_multiplier(), bias)

    def _embedding(self, name: str) -> tuple[NDArray[np.int8], float]:
        item = self._file.items.get(name)
        if item is None or len(item.shape) != 2 or item.shape[1] != self.shape.dim:
            raise self._file.error(f"there are no embeddings {name} of {self.shape.dim} numbers a word")
        values, multiplier = self._file.weights(name, item.shape)
        return values.reshape(item.shape), multiplier

    def _output_multiplier(self) -> float:
        """That of the activations before the logits: a float, or in models with two vocabularies an 8-bit number."""
        if "none_QuantMultA" in self._file.items:
            return self._multiplier("none_QuantMultA")
        value, multiplier = self._file.weights("decoder_Wemb_QuantMultA", (1, 1))
        quotient = float(np.float32(value[0]) / np.float32(multiplier))
        self._file.check_multiplier("decoder_Wemb_QuantMultA", quotient)
        return quotient

    def _multiplier(self, name: str) -> float:
        value = float(self._file.floats(name, 1)[0])
        self._file.check_multiplier(name, value)
        return value

    def _prepared(
        self,
        weights: NDArray[np.int8],
        weight_multiplier: float,
        input_multiplier: float,
        bias: NDArray[np.float32] | None,
    ) -> kernel.Affine:
        """A layer from weights [outputs, inputs]. Single precision throughout, as in the reference."""
        outputs, inputs = weights.shape
        unquant = np.float32(1) / (np.float32(input_multiplier) * np.float32(weight_multiplier))
        sums = weights.sum(axis=1, dtype=np.int32)
        prepared = -(np.float32(127) * unquant * sums.astype(np.float32))
        if bias is not None:
            prepared = prepared + bias
        return kernel.Affine(
            self._keep(weights),
            self._keep(sums),
            self._keep(np.ascontiguousarray(prepared, np.float32)),
            input_multiplier,
            unquant,
            inputs,
            outputs,
        )

    def _affine(self, name: str, inputs: int, outputs: int, bias: str | None) -> kernel.Affine:
        weights, multiplier = self._file.weights(name, (inputs, outputs))
        values = self._file.floats(bias, outputs) if bias else None
        # the file declares [inputs, outputs] and holds the transposed matrix
        return self._prepared(
            weights.reshape(outputs, inputs), multiplier, self._multiplier(f"{name}_QuantMultA"), values
        )

    def _norm(self, name: str) -> kernel.Norm:
        dim = self.shape.dim
        scale = self._file.floats(f"{name}_ln_scale", dim)
        has_bias = f"{name}_ln_bias" in self._file.items
        bias = self._file.floats(f"{name}_ln_bias", dim) if has_bias else np.zeros(dim, np.float32)
        return kernel.Norm(self._keep(scale), self._keep(bias))

    def _attention(self, layer: kernel.EncoderLayer | kernel.DecoderLayer, prefix: str) -> None:
        dim = self.shape.dim
        for field, letter in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "o")):
            setattr(layer, field, self._affine(f"{prefix}_W{letter}", dim, dim, f"{prefix}_b{letter}"))
        layer.attention_norm = self._norm(f"{prefix}_Wo")

    def _forward(self, layer: kernel.EncoderLayer | kernel.DecoderLayer, prefix: str) -> None:
        dim, hidden = self.shape.dim, self.shape.hidden
        layer.hidden = self._affine(f"{prefix}_W1", dim, hidden, f"{prefix}_b1")
        layer.project = self._affine(f"{prefix}_W2", hidden, dim, f"{prefix}_b2")
        layer.forward_norm = self._norm(f"{prefix}_ffn")

    def _fill_layers(self) -> None:
        shape = self.shape
        encoder = (kernel.EncoderLayer * shape.encoder_layers)()
        for number, layer in enumerate(encoder, 1):
            self._attention(layer, f"encoder_l{number}_self")
            self._forward(layer, f"encoder_l{number}_ffn")
        decoder = (kernel.DecoderLayer * shape.decoder_layers)()
        for number, cell in enumerate(decoder, 1):
            prefix = f"decoder_l{number}"
            cell.candidate = self._affine(f"{prefix}_rnn_W", shape.dim, shape.dim, None)
            cell.gate = self._affine(f"{prefix}_rnn_Wf", shape.dim, shape.dim, f"{prefix}_rnn_bf")
            cell.cell_norm = self._norm(f"{prefix}_rnn_ffn")
            self._attention(cell, f"{prefix}_context")
            self._forward(cell, f"{prefix}_ffn")
        self._kept += [encoder, decoder]
        self.structure.encoder, self.structure.decoder = encoder, decoder


def _shape(file: File) -> Shape:
    """The network's shape from the description in the file; sizes that weights have are taken from these."""
    try:
        described = yaml.safe_load(file.text(DESCRIPTION))
    except yaml.YAMLError as error:
        raise file.error(f"{DESCRIPTION} can't be read") from error
    if not isinstance(described, dict):
        raise file.error(f"{DESCRIPTION} can't be read")
    for key, value in _SUPPORTED.items():
        if described.get(key, value) != value:
            raise file.error(f"it has {key}: {described[key]}, and only {value!r} is supported")
    names = ("dim-emb", "transformer-dim-ffn", "transformer-heads", "enc-depth", "dec-depth")
    numbers = [described.get(name) for name in names]
    sizes = [n for n in numbers if isinstance(n, int) and n > 0]
    if len(sizes) < len(names):
        raise file.error(f"{DESCRIPTION} lacks one of {', '.join(names)}")
    shape = Shape(*sizes)
    _check(file, shape)
    return shape


def _check(file: File, shape: Shape) -> None:
    fits = (
        shape.dim % shape.heads == 0
        and shape.dim // shape.heads % kernel.LANES == 0
        and shape.hidden % kernel.LANES == 0
        and max(shape.dim, shape.hidden) <= kernel.MAX_DEPTH
        and max(shape.encoder_layers, shape.decoder_layers) <= _MOST_LAYERS
    )
    if not fits:
        raise file.error(f"networks of this shape are not supported: {shape}")
    if not any(item.kind == INTGEMM8 for item in file.items.values()):
        raise file.error("its weights are not in 8 bits")


def positions(dim: int) -> NDArray[np.float32]:
    """The sinusoids of Marian's position embeddings, [POSITIONS, dim]; rounded where the reference rounds."""
    half = dim // 2
    column = np.arange(dim)
    exponent = (column % half).astype(np.float32) / np.float32(half - 1)
    frequency = np.power(np.float64(np.float32(1e-4)), exponent.astype(np.float64)).astype(np.float32)
    offset = (column // half).astype(np.float32) * np.float32(math.pi / 2)
    angle = np.arange(POSITIONS, dtype=np.float32)[:, None] * frequency + offset
    return np.ascontiguousarray(np.sin(angle.astype(np.float64)).astype(np.float32))
