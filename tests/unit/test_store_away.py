"""A store that is away (a disk that is not mounted) is not made anew in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradu.errors import ErrorClass
from tradu.store import Store


def test_nothing_is_written_where_the_store_is_away(tmp_path: Path) -> None:
    store = Store((tmp_path / "store").as_uri())
    store.create()
    store.put("results/job/one", b"1")
    Path(store.root).rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError, match="the store is away"):
        store.put("results/job/two", b"2")
    with pytest.raises(FileNotFoundError, match="the store is away"):
        store.move("results/job/one", "output/job/one")
    assert not Path(store.root).exists()
    (tmp_path / "away").rename(store.root)
    assert store.get("results/job/one") == b"1"


def test_a_write_to_a_store_that_is_away_is_the_systems_fault(tmp_path: Path) -> None:
    from tradu.cluster.batch import class_of

    store = Store((tmp_path / "store").as_uri())
    with pytest.raises(FileNotFoundError) as caught:
        store.put("results/job/one", b"1")
    assert class_of(caught.value, store) is ErrorClass.SYSTEMIC
