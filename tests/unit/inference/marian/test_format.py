"""The loader: whole files load, everything else is a ModelError that names the file."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.marian import Tiny, model_bytes, shortlist_bytes, written
from tradu.errors import ModelError
from tradu.inference.marian import kernel
from tradu.inference.marian.format import File
from tradu.inference.marian.kernel_search import _Batch
from tradu.inference.marian.network import Network
from tradu.inference.marian.shortlist import read_shortlist

WHOLE = model_bytes(Tiny(encoder_layers=1, decoder_layers=1))
LISTS = shortlist_bytes([[3, 4], [], [5]], first=2)
HEADER = WHOLE.index(b"Wemb")
"""Before this byte lie counts and sizes: the part where damage is worst."""
fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def run(network: Network) -> None:
    """Translate something; it may be nonsense, but not a crash."""
    network.use_vocabulary(0, shared=True)
    batch = _Batch([[5, 6, 7, 0], [8, 0]], [12, 8], beam=2, alignment=True, threads=1)
    kernel.kernel().translate(network.structure, batch.job)


def test_a_whole_file_has_its_shape(tmp_path: Path) -> None:
    network = Network(written(tmp_path, model_bytes()))
    assert (network.shape.dim, network.shape.hidden, network.shape.heads) == (32, 48, 2)
    assert (network.source_words, network.target_words) == (100, 100)
    run(network)


def test_two_vocabularies(tmp_path: Path) -> None:
    network = Network(written(tmp_path, model_bytes(Tiny(shared=False))))
    assert (network.source_words, network.target_words) == (100, 90)
    assert network.structure.logits.quant == pytest.approx(40.0)
    run(network)


@pytest.mark.parametrize(("dim", "hidden", "heads"), [(384, 1536, 8), (512, 2048, 8)])
def test_the_larger_shapes_of_mozilla(tmp_path: Path, dim: int, hidden: int, heads: int) -> None:
    run(Network(written(tmp_path, model_bytes(Tiny(dim=dim, hidden=hidden, heads=heads, encoder_layers=1)))))


@fuzz
@given(size=st.integers(0, len(WHOLE) - 1))
def test_a_truncated_file_is_an_error(tmp_path: Path, size: int) -> None:
    with pytest.raises(ModelError, match=r"model\.bin"):
        Network(written(tmp_path, WHOLE[:size]))


@fuzz
@given(byte=st.one_of(st.integers(0, HEADER), st.integers(0, len(WHOLE) - 1)), bit=st.integers(0, 7))
def test_a_flipped_bit_is_an_error_or_harmless(tmp_path: Path, byte: int, bit: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[byte] ^= 1 << bit
    with suppress(ModelError):
        run(Network(written(tmp_path, bytes(damaged))))


@fuzz
@given(data=st.binary(max_size=400))
def test_a_foreign_file_is_an_error(tmp_path: Path, data: bytes) -> None:
    for start in (b"", struct.pack("<QQ", 1, 3)):
        with pytest.raises(ModelError, match=r"model\.bin"):
            Network(written(tmp_path, start + data))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dec-cell": "gru"}, "dec-cell: gru, and only 'ssru'"),
        ({"transformer-decoder-autoreg": "self-attention"}, "only 'rnn' is supported"),
        ({"transformer-heads": 3}, "not supported"),
        ({"dim-emb": "wide"}, "lacks one of dim-emb"),
        ({"dim-emb": 64}, "no embeddings Wemb of 64"),
        ({"enc-depth": 3}, "no encoder_l3_self_Wq"),
    ],
)
def test_a_network_of_another_kind_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Network(written(tmp_path, model_bytes(Tiny(changes=changes))))


def test_what_no_quantiser_makes_is_damage(tmp_path: Path) -> None:
    file = File(written(tmp_path, WHOLE))
    for name, put, message in (
        ("Wemb", b"\x80", "-128"),
        ("encoder_l1_self_bq", struct.pack("<f", float("nan")), "not finite"),
        ("none_QuantMultA", struct.pack("<f", -1.0), "multiplier -1.0"),
    ):
        damaged = bytearray(WHOLE)
        start = file.items[name].start
        damaged[start : start + len(put)] = put
        with pytest.raises(ModelError, match=message):
            Network(written(tmp_path, bytes(damaged), "other.bin"))


def test_a_whole_shortlist(tmp_path: Path) -> None:
    shortlist = read_shortlist(written(tmp_path, LISTS), 100)
    assert (shortlist.first, shortlist.offsets.tolist(), shortlist.words.tolist()) == (2, [0, 2, 2, 3], [3, 4, 5])


@pytest.mark.parametrize("words", [5, 1])
def test_a_shortlist_of_another_vocabulary(tmp_path: Path, words: int) -> None:
    with pytest.raises(ModelError, match="another vocabulary"):
        read_shortlist(written(tmp_path, LISTS), words)


@fuzz
@given(size=st.integers(0, len(LISTS) - 1), byte=st.integers(0, len(LISTS) - 1), bit=st.integers(0, 7))
def test_a_damaged_shortlist_is_an_error_or_harmless(tmp_path: Path, size: int, byte: int, bit: int) -> None:
    with pytest.raises(ModelError, match=r"lex\.bin"):
        read_shortlist(written(tmp_path, LISTS[:size], "lex.bin"), 100)
    damaged = bytearray(LISTS)
    damaged[byte] ^= 1 << bit
    network = Network(written(tmp_path, WHOLE))
    with suppress(ModelError):
        network.use_shortlist(read_shortlist(written(tmp_path, bytes(damaged), "lex.bin"), 100))
        run(network)
