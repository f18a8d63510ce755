"""The cache fetches once, stays below its bound, drops the longest unused, and nothing that a process holds."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tradu.errors import ModelError
from tradu.inference.model_cache import ModelCache

MB = 1_000_000


def size(mb: int) -> Callable[[], int]:
    return lambda: mb * MB


def filling(folder: Path) -> None:
    (folder / "model").write_bytes(b"weights")


def refusing(_folder: Path) -> None:
    raise AssertionError("it was there already")


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def used(folder: Path, checksum: str, at: int) -> None:
    os.utime(folder / f"{checksum}.lock", (at, at))


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "cache", 10 * MB)
    assert not cache.has("a")
    cache.take("a", size(1), filling).close()
    with cache.take("a", size(1), refusing).lock:
        assert cache.has("a")
        assert (tmp_path / "cache/a/model").read_bytes() == b"weights"


def test_the_longest_unused_goes_first_and_what_is_held_stays(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path, 3 * MB)
    for at, name in enumerate("abc"):
        cache.take(name, size(1), filling).close()
        used(tmp_path, name, at)
    held = cache.take("a", size(1), refusing)
    used(tmp_path, "a", 0)
    cache.take("d", size(1), filling).close()
    assert entries(tmp_path) == {"a", "c", "d"}
    with pytest.raises(ModelError, match=r"no room for 3 MB.*TRADU_MODEL_CACHE_MB"):
        cache.take("e", size(3), filling)
    assert "a" in entries(tmp_path)
    held.close()
    cache.take("e", size(3), filling).close()
    assert entries(tmp_path) == {"e"}


def test_a_fetch_that_fails_leaves_nothing_and_may_be_tried_again(tmp_path: Path) -> None:
    def failing(folder: Path) -> None:
        filling(folder)
        raise OSError("the network is away")

    cache = ModelCache(tmp_path, 3 * MB)
    with pytest.raises(OSError, match="network"):
        cache.take("a", size(1), failing)
    assert entries(tmp_path) == set()
    cache.take("a", size(1), filling).close()


def test_threads_that_want_the_same_fetch_it_once(tmp_path: Path) -> None:
    cache, fetched, inside = ModelCache(tmp_path, 3 * MB), [], threading.Event()
    go_on = threading.Event()

    def slowly(folder: Path) -> None:
        inside.set()
        assert go_on.wait(30)
        fetched.append(folder)
        filling(folder)

    threads = [threading.Thread(target=lambda: cache.take("a", size(1), slowly).close()) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert inside.wait(30)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert len(fetched) == 1


def _die_while_fetching(folder: str) -> None:
    def dying(part: Path) -> None:
        filling(part)
        os._exit(9)

    ModelCache(Path(folder), 3 * MB).take("a", size(2), dying)


def _take_all(folder: str, names: str) -> None:
    cache = ModelCache(Path(folder), 3 * MB)
    for name in names:
        hold = cache.take(name, size(1), filling)
        assert (hold.folder / "model").read_bytes() == b"weights"
        hold.close()


def test_a_process_that_is_killed_while_it_fetches_leaves_room_and_no_half_model(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_die_while_fetching, args=(str(tmp_path),))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    assert entries(tmp_path) == {"a.part"}
    cache = ModelCache(tmp_path, 3 * MB)
    assert not cache.has("a")
    cache.take("b", size(2), filling).close()
    assert entries(tmp_path) == {"b"}


def test_processes_that_evict_and_fetch_at_once_never_see_half_a_model_and_all_end(tmp_path: Path) -> None:
    orders = ("abcdeabcde", "edcbaedcba", "aebdcaebdc")
    start = multiprocessing.get_context("fork").Process
    processes = [start(target=_take_all, args=(str(tmp_path), names)) for names in orders]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(entries(tmp_path)) == 3
