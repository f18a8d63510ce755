"""The whole line on a store in S3: what comes out is what comes out of a store of local files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from fixtures.line import Line, opened
from fixtures.postgres import TestServer
from tradu import layout
from tradu.errors import StoreError
from tradu.settings import get_settings
from tradu.store import Store
from tradu.verify import verify
from tradu.watchdog import orphans

FILES = {
    "letters/a #1?.txt": "The harbour was closed because of the storm.\n",
    "b.md": "# Hours\n\nThe library opens at **nine** in the morning, and closes at noon.\n",
    "c.csv": "name,text\none,The bread is fresh.\n",
}


@pytest.fixture
def on_s3(
    s3_store: Store,
    postgres_server: TestServer,
    empty_ledger: str,
    dask_cluster: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Line]:
    database = postgres_server.create(empty_ledger)  # beside that of `the_line`
    with opened(database, dask_cluster, tmp_path / "s3", s3_store.uri, monkeypatch) as line:
        yield line
    postgres_server.drop(database)


def outputs(line: Line, job: str) -> dict[str, bytes]:
    """Every object that the job delivered, but for the manifest, which has times and ids."""
    prefix = f"output/{job}/pt"
    return {key.removeprefix(prefix): line.store.get(key) for key, _ in line.store.keys(prefix)}


def translated(line: Line) -> dict[str, bytes]:
    """Upload documents to the store itself and translate them."""
    for name, text in FILES.items():
        line.store.put(f"uploads/x/{name}", text.encode())
    job, state = line.run(source="en", documents=[line.store.uri_of("uploads/x") + "/"])
    assert state == "COMPLETED"
    found = verify(line.job(job), line.ledger, line.store)
    assert found.faults == []
    assert found.objects >= 2 * len(FILES) + 5
    named = [key for key, _, _ in ledger_objects(line, job)]
    prefixes = ("blocks", "results", "gates", "output")
    assert sorted(key for prefix in prefixes for key, _ in line.store.keys(f"{prefix}/{job}")) == named
    return outputs(line, job)


def ledger_objects(line: Line, job: str) -> list[tuple[str, str, int]]:
    with line.ledger.transaction() as tx:
        return [(k, s, n) for k, s, n in tx.tuples("objects", job_id=UUID(job), after="", limit=1_000)]


def test_output_is_the_same_as_from_local_files(request: pytest.FixtureRequest) -> None:
    local = translated(request.getfixturevalue("the_line"))
    assert len(local) == len(FILES)
    assert b"biblioteca" in local["/b.md"]
    assert translated(request.getfixturevalue("on_s3")) == local


def test_upkeep_and_repair_work_on_s3(on_s3: Line) -> None:
    on_s3.put({"a.txt": FILES["b.md"]})
    job, _ = on_s3.run(source="en")
    result = next(key for key, _, _ in ledger_objects(on_s3, job) if layout.is_result(key))
    on_s3.store.put(result, b"damaged")
    assert result in verify(on_s3.job(job), on_s3.ledger, on_s3.store).lost_results
    on_s3.store.remove(result)
    assert result in verify(on_s3.job(job), on_s3.ledger, on_s3.store).lost_results
    on_s3.store.put(layout.result_key(UUID(job), 7, 7), b"refused")
    none_is_young = get_settings().model_copy(update={"orphan_hours": -1.0})
    assert orphans.look(on_s3.ledger, on_s3.store, none_is_young) == {"orphans": 0, "removed": 1, "missing": 0}


def test_a_bucket_that_is_gone_stops_the_line_and_blames_no_document(on_s3: Line) -> None:
    from fixtures.s3 import drop_bucket
    from tradu import line

    on_s3.put({"a.txt": FILES["b.md"]})
    job = on_s3.admit(source="en")
    drop_bucket(on_s3.store)
    with pytest.raises(StoreError, match=r"there is no bucket|the store is away"):
        line.ingest(job)
    assert on_s3.documents(job) == {}
