"""Row groups are chosen by their statistics: none that has a wanted row is left out, and none is read in vain."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradu import tables
from tradu.store import Store

Rows = list[tuple[str, int]]


def parquet(rows: Rows, group_rows: int) -> pq.ParquetFile:
    table = pa.table({"document_id": [d for d, _ in rows], "block": pa.array([b for _, b in rows], pa.int32())})
    with pa.BufferOutputStream() as stream:
        pq.write_table(table, stream, row_group_size=group_rows)
        return pq.ParquetFile(stream.getvalue())


@given(st.lists(st.tuples(st.sampled_from("abcdé"), st.integers(0, 6)), min_size=1), st.integers(1, 5), st.data())
def test_no_row_is_missed(rows: Rows, group_rows: int, data: st.DataObject) -> None:
    document, block = data.draw(st.sampled_from([*rows, ("a", 3), ("zz", 9)]))
    file = parquet(rows, group_rows)
    groups = tables.groups_with(file.metadata, {"document_id": document, "block": block})
    has = {place // group_rows for place, row in enumerate(rows) if row == (document, block)}
    assert has <= set(groups)


def test_rows_in_order_are_found_in_the_groups_that_have_them(tmp_path: Path) -> None:
    store = Store((tmp_path / "store").as_uri())
    store.create()
    rows = [(document, block) for document in "abc" for block in range(1_000)]
    table = pa.table(
        {"document_id": [d for d, _ in rows], "block": [b for _, b in rows], "text": [f"{d}{b}" for d, b in rows]}
    )
    with store.writing("results/x") as stream:
        pq.write_table(table, stream, row_group_size=100)
    with store.reading("results/x") as opened:
        metadata = pq.ParquetFile(opened).metadata
    assert tables.groups_with(metadata, {"document_id": "b", "block": 250}) == [12]
    assert tables.groups_with(metadata, {"document_id": "b", "block": 5_000}) == []
    assert tables.read_rows(store, "results/x", {"document_id": "b", "block": 250}, columns=["text"]).to_pylist() == [
        {"text": "b250"}
    ]
    assert tables.read_rows(store, "results/x", {"document_id": "b", "block": 5_000}, columns=["text"]).num_rows == 0
    with pytest.raises(FileNotFoundError):
        tables.read_rows(store, "results/y", {"block": 1}, columns=["text"])
