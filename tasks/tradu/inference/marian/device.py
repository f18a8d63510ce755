"""The network on a device of PyTorch: float16 on a GPU, float32 on a processor; activations are not rounded to 8 bits.

Functions take and give tensors of fixed shapes and never look at their values, so that CUDA graphs can hold them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tradu.inference.marian import kernel
from tradu.inference.marian.network import POSITIONS, Network

_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Affine:
    """A layer: weights [outputs, inputs], bias [outputs]."""

    weights: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        return functional.linear(x, self.weights, self.bias)


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer normalisation over the last dimension."""

    scale: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise each token."""
        return functional.layer_norm(x, self.scale.shape, self.scale, self.bias, _EPSILON)


@dataclass(frozen=True, slots=True)
class Forward:
    """A feed-forward block with its residual."""

    hidden: Affine
    project: Affine
    norm: Norm

    def __call__(self, x: Tensor) -> Tensor:
        """[..., dim] to the same."""
        return self.norm(x + self.project(functional.relu(self.hidden(x))))


@dataclass(frozen=True, slots=True)
class EncoderLayer:
    """Self-attention (queries, keys and values made by one product) and feed-forward."""

    context: Affine
    output: Affine
    norm: Norm
    forward: Forward


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """SSRU (candidate and gate made by one product), attention to the source, feed-forward."""

    memory: Affine
    memory_norm: Norm
    query: Affine
    output: Affine
    attention_norm: Norm
    forward: Forward


class DeviceNetwork:
    """A network's weights on a device, and its two halves as functions."""

    def __init__(self, network: Network, device: torch.device) -> None:
        """Copy the weights.

        Raises:
            torch.OutOfMemoryError: the device has no room for them.
        """
        made = network.structure
        self.device = device
        self.dtype = torch.float16 if device.type == "cuda" else torch.float32
        self.dim, self.heads, self.layers = made.dim, made.heads, made.decoder_layers
        self.end, self.shared = made.end, bool(made.shared)
        self.source = self._embeddings(made.source_embeddings, made.source_words, made.source_step)
        self.target = self._embeddings(made.target_embeddings, made.target_words, made.target_step)
        self.positions = self._numbers(kernel.array(made.positions, (POSITIONS, made.dim), np.float32))
        self.encoder = [self._encoder_layer(made.encoder[i]) for i in range(made.encoder_layers)]
        decoder = [made.decoder[i] for i in range(made.decoder_layers)]
        self.decoder = [self._decoder_layer(layer) for layer in decoder]
        self.context = self._joined(*(a for layer in decoder for a in (layer.key, layer.value)))
        logits = self._affine(made.logits)
        self._words, self._bias = logits.weights, logits.bias
        self.first = made.first_words if made.list_words else made.target_words
        self.list_offsets, self.lists = self._shortlist(made)

    def encode(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Keys and values for the decoder, [layers, 2, sentences, heads, tokens, width], of tokens [sentences, tokens].

        Tokens from `lengths` on are padding, and nothing sees them.
        """
        count, width = tokens.shape
        mask = (torch.arange(width, device=self.device) < lengths[:, None])[:, None, None]
        x = functional.embedding(tokens, self.source) + self.positions[:width]
        for layer in self.encoder:
            queries, keys, values = self._by_heads(layer.context(x), 3)
            seen = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
            x = layer.norm(x + layer.output(seen.transpose(1, 2).reshape(count, width, self.dim)))
            x = layer.forward(x)
        return self._by_heads(self.context(x), 2 * self.layers).view(
            self.layers, 2, count, self.heads, width, self.dim // self.heads
        )

    def decode(
        self, last: Tensor, step: Tensor, cells: Tensor, context: Tensor, mask: Tensor, seen: Tensor | None
    ) -> Tensor:
        """One step: what is on top of the network, [sentences, beam, dim].

        Args:
            last: the word each hypothesis ends in, [sentences, beam]; not looked at where its step is 0.
            step: words so far, [sentences].
            cells: the SSRUs' memory, [layers, sentences, beam, dim], float32; changed.
            context: what `encode` made.
            mask: which source tokens there are, [sentences, 1, 1, tokens].
            seen: where wanted, takes the last layer's first head's attention, [sentences, beam, tokens].
        """
        x = functional.embedding(last, self.target) * (step > 0)[:, None, None].to(self.dtype)
        x = x + self.positions[step][:, None]
        for number, layer in enumerate(self.decoder):
            candidate, gate = layer.memory(x).float().chunk(2, dim=-1)
            keep = torch.sigmoid(gate)
            cells[number] = keep * cells[number] + (1 - keep) * candidate
            x = layer.memory_norm(x + functional.relu(cells[number]).to(self.dtype))
            (query,) = self._by_heads(layer.query(x), 1)
            keys, values = context[number]
            joined = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
            if seen is not None and number == self.layers - 1:
                scores = (query[:, 0] @ keys[:, 0].transpose(1, 2)).float() / math.sqrt(query.shape[-1])
                seen.copy_(scores.masked_fill(~mask[:, 0], -math.inf).softmax(-1))
            x = layer.attention_norm(x + layer.output(joined.transpose(1, 2).reshape(x.shape)))
            x = layer.forward(x)
        return x

    def words(self, top: Tensor) -> Tensor:
        """Logits of all words without their bias, which `allowed` holds, [sentences, beam, words]."""
        return functional.linear(top, self._words)

    def allowed(self, tokens: Tensor, lengths: Tensor, forced: Tensor | None = None) -> Tensor:
        """What is added to the logits of sentences [sentences, tokens]: the bias of words they may use, else -inf.

        The words are those of the kernel's `allowed_words`: the first ones, the lists of the sentence's words, these
        themselves where the vocabulary is shared, and further ones up to a multiple of eight, as in Marian; then the
        `forced` ones, [sentences, words].
        """
        count, words = len(tokens), len(self.target)
        if self.first == words:
            return self._bias.expand(count, words)
        there = torch.arange(tokens.shape[1], device=self.device) < lengths[:, None]
        allowed = torch.zeros(count, words, dtype=torch.bool, device=self.device)
        allowed[:, : self.first] = True
        rows = torch.arange(count, device=self.device)[:, None].expand_as(tokens)[there]
        ids = tokens[there]
        if self.shared:
            copied = ids < words
            allowed[rows[copied], ids[copied]] = True
        listed = ids + 1 < len(self.list_offsets)
        rows, ids = rows[listed], ids[listed]
        sizes = self.list_offsets[ids + 1] - self.list_offsets[ids]
        ends = sizes.cumsum(0)
        begins = torch.repeat_interleave(self.list_offsets[ids] - (ends - sizes), sizes)
        places = begins + torch.arange(len(begins), device=self.device)
        allowed[torch.repeat_interleave(rows, sizes), self.lists[places]] = True
        lacking = -allowed.sum(1, dtype=torch.int64) % 8
        others = ~allowed[:, self.first :]
        allowed[:, self.first :] |= others & (others.cumsum(1) <= lacking[:, None])
        if forced is not None:
            allowed.scatter_(1, forced, True)
        return torch.where(allowed, self._bias, -math.inf)

    def _by_heads(self, x: Tensor, parts: int) -> Tensor:
        """[sentences, tokens, parts * dim] to [parts, sentences, heads, tokens, width]."""
        count, width = x.shape[:2]
        return x.view(count, width, parts, self.heads, self.dim // self.heads).permute(2, 0, 3, 1, 4)

    def _numbers(self, values: NDArray[np.generic], step: float = 1.0) -> Tensor:
        numbers = values.astype(np.float32) * np.float32(step)
        return torch.from_numpy(numbers).to(self.device, self.dtype)

    def _embeddings(self, address: int, words: int, step: float) -> Tensor:
        return self._numbers(kernel.array(address, (words, self.dim), np.int8), step * math.sqrt(self.dim))

    def _joined(self, *layers: kernel.Affine) -> Affine:
        """Several layers over the same inputs as one."""
        each = [self._affine(layer) for layer in layers]
        return Affine(torch.cat([a.weights for a in each]), torch.cat([a.bias for a in each]))

    def _affine(self, layer: kernel.Affine) -> Affine:
        weights = kernel.array(layer.weights, (layer.outputs, layer.inputs), np.int8)
        sums = kernel.array(layer.sums, (layer.outputs,), np.int32)
        # the kernel's bias takes the shift of its unsigned inputs out again: here there is none
        bias = kernel.array(layer.bias, (layer.outputs,), np.float32) + 127 * np.float32(layer.unquant) * sums
        return Affine(self._numbers(weights, layer.unquant * layer.quant), self._numbers(bias))

    def _norm(self, norm: kernel.Norm) -> Norm:
        scale, bias = (kernel.array(at, (self.dim,), np.float32) for at in (norm.scale, norm.bias))
        return Norm(self._numbers(scale), self._numbers(bias))

    def _forward(self, layer: kernel.EncoderLayer | kernel.DecoderLayer) -> Forward:
        return Forward(self._affine(layer.hidden), self._affine(layer.project), self._norm(layer.forward_norm))

    def _encoder_layer(self, layer: kernel.EncoderLayer) -> EncoderLayer:
        context = self._joined(layer.query, layer.key, layer.value)
        return EncoderLayer(context, self._affine(layer.output), self._norm(layer.attention_norm), self._forward(layer))

    def _decoder_layer(self, layer: kernel.DecoderLayer) -> DecoderLayer:
        return DecoderLayer(
            self._joined(layer.candidate, layer.gate),
            self._norm(layer.cell_norm),
            self._affine(layer.query),
            self._affine(layer.output),
            self._norm(layer.attention_norm),
            self._forward(layer),
        )

    def _shortlist(self, made: kernel.Model) -> tuple[Tensor, Tensor]:
        if not made.list_words:
            empty = torch.zeros(0, dtype=torch.int64, device=self.device)
            return empty, empty
        offsets = kernel.array(made.list_offsets, (made.list_words,), np.uint64).astype(np.int64)
        words = kernel.array(made.lists, (int(offsets[-1]),), np.uint32).astype(np.int64)
        return torch.from_numpy(offsets).to(self.device), torch.from_numpy(words).to(self.device)
