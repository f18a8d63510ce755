"""The compiled kernel seen from Python: the structures of native/marian.h, and its functions."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_char_p, c_float, c_int, c_int32, c_int64, c_void_p
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tradu.errors import ModelError, ResourceError
from tradu.inference.marian import build

_Number = TypeVar("_Number", bound=np.generic)

ABI = 2
"""Version of the interface; equals TRADU_ABI of native/marian.h."""
LANES = 16
"""Most tokens in a tile: the widest vector register, in floats."""
MAX_BEAM = 16
MAX_DEPTH = 8_192
REFERENCE_PATH = "saturating"
"""Repeats the rounding of the reference engine's AVX2 code; for comparing with it only."""


class Affine(Structure):
    """One layer of weights."""

    _fields_ = (
        ("weights", c_void_p),
        ("sums", c_void_p),
        ("bias", c_void_p),
        ("quant", c_float),
        ("unquant", c_float),
        ("inputs", c_int32),
        ("outputs", c_int32),
    )


class Norm(Structure):
    """A layer normalisation."""

    _fields_ = (("scale", c_void_p), ("bias", c_void_p))


class EncoderLayer(Structure):
    """One layer of the encoder."""

    _fields_ = (
        *((name, Affine) for name in ("query", "key", "value", "output", "hidden", "project")),
        ("attention_norm", Norm),
        ("forward_norm", Norm),
    )


class DecoderLayer(Structure):
    """One layer of the decoder."""

    _fields_ = (
        *((name, Affine) for name in ("candidate", "gate", "query", "key", "value", "output", "hidden", "project")),
        ("cell_norm", Norm),
        ("attention_norm", Norm),
        ("forward_norm", Norm),
    )


class Model(Structure):
    """The network."""

    _fields_ = (
        *((name, c_int32) for name in ("dim", "hidden", "heads", "encoder_layers", "decoder_layers")),
        *((name, c_int32) for name in ("source_words", "target_words", "end")),
        ("source_embeddings", c_void_p),
        ("target_embeddings", c_void_p),
        ("source_step", c_float),
        ("target_step", c_float),
        ("positions", c_void_p),
        ("position_rows", c_int32),
        ("encoder", POINTER(EncoderLayer)),
        ("decoder", POINTER(DecoderLayer)),
        ("logits", Affine),
        ("list_offsets", c_void_p),
        ("lists", c_void_p),
        ("list_words", c_int64),
        ("first_words", c_int32),
        ("shared", c_int32),
    )


class Job(Structure):
    """A call."""

    _fields_ = (
        ("sentences", c_int32),
        *((name, c_void_p) for name in ("order", "tokens", "offsets", "limits")),
        *((name, c_int32) for name in ("beam", "slots", "group_tokens")),
        *((name, c_void_p) for name in ("cursor", "out_offsets", "out_tokens", "out_log_probabilities", "out_lengths")),
        *((name, c_void_p) for name in ("out_complete", "out_scores", "attention_offsets", "out_attention", "forced")),
    )


class Kernel:
    """The library, bound to one of its paths (instruction sets)."""

    def __init__(self, library: ctypes.CDLL, number: int, path: str) -> None:
        self._library = library
        self._number = number
        self.path = path
        """The instruction set: avx512vnni, avxvnni, avx512, avx2 or portable."""
        self.lanes = int(library.tradu_path_lanes(number))
        """Tokens in a tile."""

    def translate(self, model: Model, job: Job) -> None:
        """Decode sentences until the job's cursor is at its end; without the interpreter's lock.

        Raises:
            ResourceError: memory is short.
            ModelError: the job can't be this model's.
        """
        code = self._library.tradu_translate(self._number, ctypes.byref(model), ctypes.byref(job))
        if code == 1:
            raise ResourceError("the neural kernel is out of memory: translate fewer or shorter texts at once")
        if code:
            raise ModelError(f"the neural kernel refused its input (code {code})")

    def multiply(self, layer: Affine, activations: NDArray[np.uint8]) -> NDArray[np.int32]:
        """The sums of a layer: bytes [tiles, inputs / 4, lanes, 4] to integers [tiles, outputs, lanes]."""
        out: NDArray[np.int32] = aligned((activations.shape[0], layer.outputs, self.lanes), np.int32)
        self._library.tradu_multiply(
            self._number, ctypes.byref(layer), pointer(activations), pointer(out), len(activations)
        )
        return out

    def rows(self, layer: Affine, activation: NDArray[np.uint8], wanted: NDArray[np.int32]) -> NDArray[np.int32]:
        """The sums of the wanted rows of a layer for one token's bytes [inputs]."""
        out = np.zeros(len(wanted), np.int32)
        self._library.tradu_rows(
            self._number, ctypes.byref(layer), pointer(activation), pointer(wanted), len(wanted), pointer(out)
        )
        return out


def kernel(path: str | None = None) -> Kernel:
    """The kernel for the best instruction set of this processor, or for the one named.

    Raises:
        NoKernelError: it is not built and can't be.
        ModelError: the processor has not that instruction set.
    """
    library = _library()
    for number, name in enumerate(_names(library)):
        wanted = name == path if path else name != REFERENCE_PATH
        if wanted and library.tradu_path_usable(number):
            return Kernel(library, number, name)
    raise ModelError(f"this processor has no {path}; it has: {', '.join(paths())}")


def paths() -> Sequence[str]:
    """The instruction sets that this processor can run, best first."""
    library = _library()
    return [name for number, name in enumerate(_names(library)) if library.tradu_path_usable(number)]


def _names(library: ctypes.CDLL) -> list[str]:
    return [library.tradu_path_name(number).decode() for number in range(library.tradu_paths())]


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    path = build.library()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise build.NoKernelError(
            f"the neural kernel can't be loaded: {error}; remove {path} and run `tradu setup`"
        ) from error
    for name, result, arguments in (
        ("tradu_abi", c_int, ()),
        ("tradu_paths", c_int, ()),
        ("tradu_path_name", c_char_p, (c_int,)),
        ("tradu_path_usable", c_int, (c_int,)),
        ("tradu_path_lanes", c_int, (c_int,)),
        ("tradu_translate", c_int, (c_int, POINTER(Model), POINTER(Job))),
        ("tradu_multiply", c_int, (c_int, POINTER(Affine), c_void_p, c_void_p, c_int32)),
        ("tradu_rows", c_int, (c_int, POINTER(Affine), c_void_p, c_void_p, c_int32, c_void_p)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    if library.tradu_abi() != ABI:
        raise build.NoKernelError(f"the neural kernel is of another version: remove {path} and run `tradu setup`")
    return library


def pointer(array: NDArray[np.generic]) -> int:
    """The address of an array's first element; the array must outlive its use."""
    return int(array.ctypes.data)


def array(address: int, shape: tuple[int, ...], kind: type[_Number]) -> NDArray[_Number]:
    """The numbers that a structure points to, as they lie there; whoever owns the memory must outlive the array."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    return np.frombuffer(memoryview((ctypes.c_ubyte * size).from_address(address)), kind).reshape(shape)


def aligned(shape: tuple[int, ...], kind: type[_Number]) -> NDArray[_Number]:
    """An array of zeros that begins at a multiple of 64 bytes, as the kernel's vectors want it."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -pointer(raw) % 64
    return raw[start : start + size].view(kind).reshape(shape)
