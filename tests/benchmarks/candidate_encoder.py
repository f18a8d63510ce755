"""The whole encoder as a candidate: the same weights as an int8 graph of ONNX Runtime, against our kernel, on one core.

This is the half of the network that suits a library best: all sentences have the same length, so nothing is padded.
Run it as candidates.py is run; it needs onnx and onnxruntime, and the English-Portuguese model.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from tradu.inference.marian import kernel
from tradu.inference.marian.format import File
from tradu.inference.marian.kernel_search import _Batch
from tradu.inference.marian.network import Network, positions
from tradu.inference.marian.shortlist import read_shortlist

LENGTH = 25
SECONDS = 1.5


class Graph:
    """Collects the nodes of the encoder."""

    def __init__(self, file: File, dim: int, heads: int) -> None:
        self._file, self._dim, self._heads = file, dim, heads
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def affine(self, x: str, name: str, bias: str, inputs: int, outputs: int) -> str:
        """Quantise, multiply in int8, make floats of it, add the bias."""
        weights, multiplier = self._file.weights(name, (inputs, outputs))
        quant = self._file.floats(f"{name}_QuantMultA", 1)[0]
        zero = self.constant(np.array(127, np.uint8))
        bytes_ = self.node("QuantizeLinear", x, self.constant(np.array(1 / quant, np.float32)), zero)
        matrix = self.constant(np.ascontiguousarray(weights.reshape(outputs, inputs).T))
        sums = self.node("Cast", self.node("MatMulInteger", bytes_, matrix, zero), to=TensorProto.FLOAT)
        scaled = self.node("Mul", sums, self.constant(np.array(1 / (quant * multiplier), np.float32)))
        return self.node("Add", scaled, self.constant(self._file.floats(bias, outputs)))

    def normalised(self, x: str, added: str, name: str) -> str:
        scale, bias = (self.constant(self._file.floats(f"{name}_ln_{part}", self._dim)) for part in ("scale", "bias"))
        return self.node("LayerNormalization", self.node("Add", x, added), scale, bias, axis=-1, epsilon=1e-6)

    def attention(self, x: str, prefix: str) -> str:
        dim, heads = self._dim, self._heads
        split = self.constant(np.array([0, 0, heads, dim // heads], np.int64))
        q, k, v = (
            self.node(
                "Transpose",
                self.node("Reshape", self.affine(x, f"{prefix}_W{w}", f"{prefix}_b{w}", dim, dim), split),
                perm=[0, 2, 3, 1] if w == "k" else [0, 2, 1, 3],
            )
            for w in "qkv"
        )
        scores = self.node("Mul", self.node("MatMul", q, k), self.constant(np.array((dim / heads) ** -0.5, np.float32)))
        mixed = self.node("Transpose", self.node("MatMul", self.node("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        joined = self.node("Reshape", mixed, self.constant(np.array([0, 0, dim], np.int64)))
        return self.affine(joined, f"{prefix}_Wo", f"{prefix}_bo", dim, dim)


def onnx_encoder(path: Path, network: Network) -> ort.InferenceSession:
    """The encoder above the embeddings: [sentences, length, dim] to the same."""
    shape = network.shape
    graph = Graph(File(path), shape.dim, shape.heads)
    x = "x"
    for layer in range(1, shape.encoder_layers + 1):
        prefix = f"encoder_l{layer}"
        x = graph.normalised(x, graph.attention(x, f"{prefix}_self"), f"{prefix}_self_Wo")
        hidden = graph.node("Relu", graph.affine(x, f"{prefix}_ffn_W1", f"{prefix}_ffn_b1", shape.dim, shape.hidden))
        out = graph.affine(hidden, f"{prefix}_ffn_W2", f"{prefix}_ffn_b2", shape.hidden, shape.dim)
        x = graph.normalised(x, out, f"{prefix}_ffn_ffn")
    made = helper.make_graph(
        graph.nodes,
        "encoder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["sentences", "length", shape.dim])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["sentences", "length", shape.dim])],
        graph.constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def best(run: Callable[[], object]) -> float:
    """Seconds at best."""
    run()
    least, end = 9e9, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        least = min(least, time.perf_counter() - start)
    return least


def ours(network: Network, sources: list[list[int]]) -> None:
    """Encode, and decode one token: our kernel encodes only to decode."""
    batch = _Batch(sources, [1] * len(sources), 1, alignment=False, threads=1)
    kernel.kernel().translate(network.structure, batch.job)


def main(path: Path) -> None:
    """Print a Markdown table."""
    network = Network(path)
    network.use_vocabulary(0, shared=True)
    network.use_shortlist(read_shortlist(next(path.parent.glob("lex.*")), network.target_words))
    session = onnx_encoder(path, network)
    print("| sentences of 25 tokens encoded, a second on one core | 1 | 8 | 40 |\n| --- | ---: | ---: | ---: |")
    rng = np.random.default_rng(1)
    rates: dict[str, list[float]] = {"ONNX Runtime": [], "ours": []}
    for count in (1, 8, 40):
        x = {"x": np.tile(positions(network.shape.dim)[:LENGTH], (count, 1, 1))}
        sources = [[*rng.integers(1, 1_000, LENGTH - 1).tolist(), 0] for _ in range(count)]
        rates["ONNX Runtime"].append(count / best(lambda x=x: session.run(None, x)))  # type: ignore[misc]
        rates["ours"].append(count / best(lambda s=sources: ours(network, s)))  # type: ignore[misc]
    for name, values in rates.items():
        print(f"| {name} | {' | '.join(f'{value:.0f}' for value in values)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
