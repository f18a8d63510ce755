"""Candidates for the int8 product on one core, in the shapes of Mozilla's tiny models: which backend to build on.

Run it in an environment that has them (none is a dependency of ours): pip install onnx onnxruntime openvino numba
torch, then PYTHONPATH=tasks python tests/benchmarks/candidates.py. What is not installed is left out, and named.
"""

from __future__ import annotations

import ctypes
import os

# before the libraries are loaded: one thread each
os.environ.update({f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")})

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Run = Callable[[], object]
SHAPES = [(tokens, *layer) for layer in ((256, 1536), (1536, 256)) for tokens in (1, 16, 48, 960)]
SECONDS = 0.25


def rate(run: Run, operations: float) -> float:
    """Operations a second at best, in thousand millions."""
    run()
    best, end = 9e9, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return operations / best / 1e9


def numpy_float32(tokens: int, inputs: int, outputs: int) -> Run:
    x, w = np.ones((tokens, inputs), np.float32), np.ones((inputs, outputs), np.float32)
    return lambda: x @ w


def numba_int8(tokens: int, inputs: int, outputs: int) -> Run:
    import numba

    @numba.njit(fastmath=True)
    def multiply(x: Any, w: Any, out: Any) -> None:
        for i in range(x.shape[0]):
            for j in range(w.shape[0]):
                total = np.int32(0)
                for k in range(x.shape[1]):
                    total += np.int32(x[i, k]) * np.int32(w[j, k])
                out[i, j] = total

    x, w = np.ones((tokens, inputs), np.uint8), np.ones((outputs, inputs), np.int8)
    out = np.zeros((tokens, outputs), np.int32)
    return lambda: multiply(x, w, out)


def _onnx_model(tokens: int, inputs: int, outputs: int, pairs: bool) -> bytes:
    """One product: as MatMulInteger, or between quantise/dequantise pairs."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(1).integers(-127, 128, (inputs, outputs), dtype=np.int8)
    initial = [numpy_helper.from_array(weights, "w")]
    if pairs:
        initial += [numpy_helper.from_array(np.array(0.02, np.float32), "s")]
        initial += [
            numpy_helper.from_array(np.array(128, np.uint8), "z"),
            numpy_helper.from_array(np.array(0, np.int8), "zw"),
        ]
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            helper.make_node("DequantizeLinear", ["w", "s", "zw"], ["dw"]),
            helper.make_node("MatMul", ["d", "dw"], ["y"]),
        ]
        kinds = TensorProto.FLOAT, TensorProto.FLOAT
    else:
        nodes = [helper.make_node("MatMulInteger", ["x", "w"], ["y"])]
        kinds = TensorProto.UINT8, TensorProto.INT32
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", kinds[0], [tokens, inputs])],
        [helper.make_tensor_value_info("y", kinds[1], [tokens, outputs])],
        initial,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def onnxruntime_integer(tokens: int, inputs: int, outputs: int) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    data = _onnx_model(tokens, inputs, outputs, pairs=False)
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    x = {"x": np.ones((tokens, inputs), np.uint8)}
    return lambda: session.run(None, x)


def openvino_int8(tokens: int, inputs: int, outputs: int) -> Run:
    import openvino as ov

    core = ov.Core()
    model = core.read_model(_onnx_model(tokens, inputs, outputs, pairs=True))
    options = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    x = np.ones((tokens, inputs), np.float32)
    return lambda: request.infer([x], share_inputs=True, share_outputs=True)


def torch_float32(tokens: int, inputs: int, outputs: int) -> Run:
    import torch

    torch.set_num_threads(1)
    x, w = torch.ones(tokens, inputs), torch.ones(inputs, outputs)
    return lambda: torch.mm(x, w)


def torch_onednn_int8(tokens: int, inputs: int, outputs: int) -> Run:
    import torch

    torch.set_num_threads(1)
    x = torch.ones(tokens, inputs, dtype=torch.int8)
    w = torch.ones(outputs, inputs, dtype=torch.int8).t()
    return lambda: torch._int_mm(x, w)


def kernel_of_ours(tokens: int, inputs: int, outputs: int) -> Run:
    from tradu.inference.marian import kernel

    own = kernel.kernel()
    weights = np.ones((outputs, inputs), np.int8)
    sums = weights.sum(axis=1, dtype=np.int32)
    layer = kernel.Affine(kernel.pointer(weights), kernel.pointer(sums), 0, 1, 1, inputs, outputs)
    tiles = -(-tokens // own.lanes)
    x = kernel.aligned((tiles, inputs // 4, own.lanes, 4), np.uint8)
    out = kernel.aligned((tiles, outputs, own.lanes), np.int32)
    wanted = np.arange(outputs, dtype=np.int32)
    kept = x, out, wanted, weights, sums  # memory that the calls use by address
    at = [kernel.pointer(array) for array in kept]
    library, number, layer_at = own._library, own._number, ctypes.byref(layer)
    if tokens == 1:
        return lambda: (library.tradu_rows(number, layer_at, at[0], at[2], outputs, at[1]), kept)
    return lambda: (library.tradu_multiply(number, layer_at, at[0], at[1], tiles), kept)


def main() -> None:
    """Print a Markdown table."""
    heads = [f"{inputs}->{outputs}, {tokens}" for tokens, inputs, outputs in SHAPES]
    print(
        f"| GOPS on one core (load {os.getloadavg()[0]:.1f}) | {' | '.join(heads)} |\n| --- |{' ---: |' * len(heads)}"
    )
    candidates = (
        numpy_float32,
        torch_float32,
        numba_int8,
        torch_onednn_int8,
        onnxruntime_integer,
        openvino_int8,
        kernel_of_ours,
    )
    for candidate in candidates:
        cells = []
        try:
            for tokens, inputs, outputs in SHAPES:
                cells.append(f"{rate(candidate(tokens, inputs, outputs), 2.0 * tokens * inputs * outputs):.0f}")
        except ImportError as error:
            print(f"{candidate.__name__} is NOT MEASURED: {error}", file=sys.stderr)
            continue
        except Exception as error:
            cells.append(f"failed: {str(error)[:60]!r}")
        print(f"| {candidate.__name__.replace('_', ' ')} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
