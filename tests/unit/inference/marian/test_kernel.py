"""The kernel on made-up weights: every instruction set gives Python's integers, and the same translation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.marian import Tiny, model_bytes, shortlist_bytes, written
from tradu.errors import ModelError
from tradu.inference.marian import kernel
from tradu.inference.marian.kernel_search import KernelSearch, _Batch
from tradu.inference.marian.network import Network, positions
from tradu.inference.marian.shortlist import read_shortlist

PATHS = [path for path in kernel.paths() if path != kernel.REFERENCE_PATH]
SOURCES = [[5, 6, 7, 0], [8, 0], [9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 0], [30, 31, 0]]


def layer(weights: NDArray[np.int8], sums: NDArray[np.int32]) -> kernel.Affine:
    at = kernel.pointer
    return kernel.Affine(at(weights), at(sums), 0, 1.0, 1.0, weights.shape[1], weights.shape[0])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("inputs", "outputs", "tiles"), [(16, 16, 1), (256, 32, 4), (48, 16, 3), (1536, 16, 2)])
@pytest.mark.parametrize("extreme", [False, True])
def test_products_are_exact(path: str, inputs: int, outputs: int, tiles: int, extreme: bool) -> None:
    rng = np.random.default_rng(3)
    values = np.array([-127, 127], np.int8) if extreme else np.arange(-127, 128, dtype=np.int8)
    weights = rng.choice(values, (outputs, inputs))
    own = kernel.kernel(path)
    x = kernel.aligned((tiles, inputs // 4, own.lanes, 4), np.uint8)
    x[:] = rng.choice(np.array([0, 254], np.uint8) if extreme else np.arange(255, dtype=np.uint8), x.shape)
    sums = weights.sum(axis=1, dtype=np.int32)
    tokens = x.transpose(0, 2, 1, 3).reshape(tiles, own.lanes, inputs).astype(np.int32)
    expected = tokens @ weights.T.astype(np.int32)
    assert (own.multiply(layer(weights, sums), x) == expected.transpose(0, 2, 1)).all()
    wanted = rng.integers(0, outputs, 20, dtype=np.int32)
    row = np.ascontiguousarray(tokens[0, 0].astype(np.uint8))
    assert (own.rows(layer(weights, sums), row, wanted) == expected[0, 0, wanted]).all()


def decoded(
    network: Network, path: str, sources: list[list[int]], beam: int = 1
) -> list[tuple[list[int], list[float]]]:
    batch = _Batch(sources, [min(2 * len(ids) + 4, 256) for ids in sources], beam, alignment=False, threads=1)
    kernel.kernel(path).translate(network.structure, batch.job)
    made = []
    for number in range(len(sources)):
        start, length = int(batch._places[number]), int(batch._lengths[number * beam])
        assert length > 0
        tokens = batch._chosen[start : start + length].tolist()
        made.append((tokens, batch._log_probabilities[start : start + length].tolist()))
    return made


@pytest.fixture
def network(tmp_path: Path) -> Network:
    network = Network(written(tmp_path, model_bytes(Tiny(dim=64, heads=4, hidden=96))))
    network.use_vocabulary(0, shared=True)
    return network


@pytest.mark.parametrize("beam", [1, 3])
def test_every_path_translates_alike(network: Network, beam: int) -> None:
    first, *others = [decoded(network, path, SOURCES, beam) for path in PATHS]
    assert all(other == first for other in others)


def test_alone_and_among_others(network: Network) -> None:
    together = decoded(network, PATHS[0], SOURCES * 20)
    alone = [decoded(network, PATHS[0], [source])[0] for source in SOURCES]
    assert together == alone * 20


@pytest.mark.parametrize("path", PATHS)
def test_forced_words_get_the_log_probabilities_they_had(tmp_path: Path, network: Network, path: str) -> None:
    lists = [[50 + word % 40] for word in range(100)]
    network.use_shortlist(read_shortlist(written(tmp_path, shortlist_bytes(lists, first=3), "lex.bin"), 100))
    made = decoded(network, path, SOURCES)
    targets = [tokens if tokens[-1] == 0 else [*tokens, 0] for tokens, _ in made]
    targets[0] = [99, 98, 0]  # no words of its shortlist
    scored = KernelSearch(network, 1, path).score(SOURCES, targets, alignment=False)
    for own, (tokens, before) in zip(scored[1:], made[1:], strict=True):
        assert own.log_probabilities[: len(tokens)].tolist() == before
    assert [own.tokens.tolist() for own in scored] == targets
    assert scored[0].log_probabilities.max() < 0


def test_a_sentence_uses_its_own_words_only(tmp_path: Path, network: Network) -> None:
    lists = [[50 + word % 40] for word in range(100)]
    network.use_shortlist(read_shortlist(written(tmp_path, shortlist_bytes(lists, first=3), "lex.bin"), 100))
    for source, (tokens, _) in zip(SOURCES, decoded(network, PATHS[0], SOURCES), strict=True):
        allowed = {0, 1, 2, *source, *(50 + word % 40 for word in source)}
        more = 3
        while len(allowed) % 8:
            allowed.add(more)
            more += 1
        assert set(tokens) <= allowed


def test_without_bias_or_positions_of_long_texts(network: Network) -> None:
    table = positions(64)
    assert table.shape == (1_024, 64)
    assert table[0, :32].tolist() == [0.0] * 32
    assert table[0, 32:].tolist() == [1.0] * 32
    long = [[*([7] * 127), 0]]
    assert len(decoded(network, PATHS[0], long)[0][0]) <= 256


def test_ids_outside_the_vocabulary_are_refused(network: Network) -> None:
    for bad in (-1, 100):
        with pytest.raises(ModelError, match="refused"):
            decoded(network, PATHS[0], [[bad, 0]])


def test_an_unknown_path_is_named() -> None:
    with pytest.raises(ModelError, match=r"no mmx; it has: .*portable"):
        kernel.kernel("mmx")
