"""The store on S3 when not all is well: answers that fail, listings of many pages, credentials, a bucket that goes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fixtures.s3 import BROKEN, SLOW_DOWN, Fault, Proxy, drop_bucket, proxied
from tradu import tables
from tradu.errors import ErrorClass, StoreError, TransientError
from tradu.ledger import rewind
from tradu.store import Store

ONE_PART = 5 << 20
BUSY = Fault(503, SLOW_DOWN)
FAILED = Fault(500, BROKEN)
BREAKS = Fault(0)


@pytest.fixture
def proxy(s3_endpoint: str) -> Iterator[Proxy]:
    with proxied(s3_endpoint) as made:
        yield made


@pytest.fixture
def spoilt(s3_store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The same store, through the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
    monkeypatch.setattr("tradu.s3.PART_BYTES", ONE_PART)
    return Store(s3_store.uri)


@pytest.mark.parametrize(
    ("fault", "method"),
    [(BUSY, "PUT"), (BUSY, "GET"), (FAILED, "PUT"), (FAILED, "HEAD"), (BREAKS, "PUT"), (BREAKS, "GET")],
)
def test_a_request_that_fails_is_made_again(spoilt: Store, proxy: Proxy, fault: Fault, method: str) -> None:
    proxy.spoil([fault], method)
    stored = spoilt.put("results/a", b"translated")
    assert spoilt.get("results/a") == b"translated"
    assert spoilt.problem("results/a", stored.sha256) is None
    assert proxy.count(method) > 1


@pytest.mark.parametrize(
    ("method", "part", "fault"),
    [
        ("POST", "uploads", BUSY),
        ("PUT", "partNumber=2", FAILED),
        ("PUT", "partNumber=3", BREAKS),
        ("POST", "uploadId", FAILED),
    ],
)
def test_an_object_in_parts_is_whole_though_a_part_failed(
    spoilt: Store, proxy: Proxy, method: str, part: str, fault: Fault
) -> None:
    data = os.urandom(2 * ONE_PART + 17)
    proxy.spoil([fault], method, part)
    stored = spoilt.copy_in(io.BytesIO(data), "output/large")
    assert proxy.count("PUT", "partNumber=") >= 3
    assert proxy.count(method, part) > 1
    assert spoilt.problem("output/large", stored.sha256) is None


def test_an_answer_that_is_lost_is_asked_for_again(spoilt: Store, proxy: Proxy) -> None:
    proxy.spoil([Fault(0, after=True)], "PUT")
    spoilt.put("output/a", b"once")
    assert proxy.count("PUT") == 2
    proxy.spoil([Fault(0, after=True)], "DELETE")
    spoilt.remove("output/a")
    assert not spoilt.exists("output/a")


def test_a_store_that_stays_busy_is_no_fault_of_a_block(
    spoilt: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tradu.cluster.batch import class_of

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    proxy.judge = lambda method, path: BUSY if "results" in path and "list-type" not in path else None
    store = Store(spoilt.uri)
    for act in (
        lambda: store.put("results/a", b"x"),
        lambda: store.get("results/a"),
        lambda: store.exists("results/a"),
    ):
        with pytest.raises(StoreError, match=r"does not do its work \((SlowDown|503), tried several times\)") as caught:
            act()
        assert class_of(caught.value, store) is ErrorClass.SYSTEMIC


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(spoilt: Store) -> None:
    spoilt.put("output/a", b"1" * 100)
    with spoilt.reading("output/a", ahead_bytes=0) as stream:
        assert stream.read(10) == b"1" * 10
        spoilt.put("output/a", b"2" * 100)
        with pytest.raises(TransientError, match="was replaced while it was read"):
            stream.read(10)


def test_every_page_of_a_listing_is_read(s3_store: Store) -> None:
    keys = {f"results/job/{number:05d}" for number in range(1_003)}
    s3_store.fs.pipe({s3_store.path(key): b"x" for key in keys})
    assert {key for key, _ in s3_store.keys("results")} == keys
    s3_store.remove("results/job")
    assert list(s3_store.keys("results")) == []


def test_a_row_group_is_one_request(spoilt: Store, proxy: Proxy) -> None:
    columns = {name: pa.array(os.urandom(8) for _ in range(20_000)) for name in "abc"}
    with spoilt.writing("results/a") as stream:
        pq.write_table(pa.table(columns), stream, row_group_size=2_000, compression="none")
    proxy.seen.clear()
    assert tables.read_group(spoilt, "results/a", 4, columns=["a", "b", "c"]).num_rows == 2_000
    assert proxy.count("HEAD") == 1
    assert proxy.count("GET") <= 3, proxy.seen
    assert proxy.count("GET", "list-type") == 0


def test_parts_of_a_writer_that_was_killed_are_removed(s3_store: Store) -> None:
    script = (
        "import os, signal, sys; from tradu import s3; from tradu.store import Store; s3.PART_BYTES = 5 << 20\n"
        "with Store(sys.argv[1]).writing('output/job/pt/a') as stream:\n"
        "    stream.write(bytes(6 << 20)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, s3_store.uri], check=False)
    assert not s3_store.exists("output/job/pt/a")
    assert s3_store.abandon(10**9) == 0, "one that is younger may still be written"
    assert s3_store.abandon(-60) == 1
    assert s3_store.abandon(-60) == 0


def test_wrong_credentials_are_named_and_not_shown(
    s3_store: Store, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    s3_store.put("output/a", b"x")
    moto = "TRADU_TEST_S3_ENDPOINT" not in os.environ
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONGWRONGWRONG0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong/wrong/wrong/wrong/secret")
    store = Store(s3_store.uri)
    if moto:
        httpx.post(f"{s3_endpoint}/moto-api/reset-auth", content="0")
    try:
        for act in (lambda: store.get("output/a"), lambda: store.put("output/b", b"x"), lambda: store.size("output/a")):
            with pytest.raises(StoreError, match=r"refuses us \(.+\): check AWS_ACCESS_KEY_ID") as caught:
                act()
            assert "WRONG" not in str(caught.value)
            assert "wrong/" not in str(caught.value)
        assert not store.is_there()
    finally:
        if moto:
            httpx.post(f"{s3_endpoint}/moto-api/reset-auth", content="inf")


def test_missing_credentials_are_named(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(StoreError, match=r"no credentials for s3://.*NoCredentialsError"):
        Store(s3_store.uri).get("output/a")


def test_a_bucket_that_disappears_is_told_from_an_object_that_is_missing(s3_store: Store) -> None:
    s3_store.put(rewind.MARK_KEY, b"{}")
    columns = {"n": list(range(50_000))}
    with s3_store.writing("results/a") as stream:
        pq.write_table(pa.table(columns), stream, row_group_size=10_000)
    with s3_store.reading("results/a", ahead_bytes=0) as open_one:
        reader = pq.ParquetFile(open_one)
        drop_bucket(s3_store)
        with pytest.raises(StoreError, match="there is no bucket"):
            reader.read_row_group(3)
    assert not s3_store.is_there()
    assert not rewind.is_marked(s3_store)
    for act in (
        lambda: s3_store.exists("results/a"),
        lambda: s3_store.put("results/b", b"x"),
        lambda: s3_store.get("results/a"),
        lambda: s3_store.problem("results/a", "0" * 64),
        lambda: s3_store.remove("results/a"),
        lambda: list(s3_store.keys("results")),
        lambda: tables.read(s3_store, "results/a"),
    ):
        with pytest.raises(StoreError, match="there is no bucket s3://tradu-test-"):
            act()


def test_an_endpoint_where_nobody_answers_is_named(s3_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from tradu.stack.ports import free_ports

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreError, match=r"can't be reached .*check AWS_ENDPOINT_URL_S3"):
        Store(f"s3://tradu-test-{uuid.uuid4().hex[:8]}/x").get("output/a")
