"""Archives on S3: storage classes, and a restore that waits for Glacier."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from fixtures.archive import Shelf
from fixtures.s3 import BROKEN, SLOW_DOWN, Fault, Proxy, proxied
from tradu import layout
from tradu.archival import catalogue, erase, purge, run, scrub, tiers
from tradu.archival.manifest import Manifest
from tradu.archival.policy import Act, Due, Residence, load_policy
from tradu.archival.restore import AsleepError
from tradu.cli import removal
from tradu.cli.main import app
from tradu.errors import DamagedError, TransientError
from tradu.ledger import jobs
from tradu.settings import get_settings
from tradu.store import Store

PART = 5 << 20
FILES = {"a.txt": "The harbour was closed because of the storm. Nobody knew for how long.\n"}
POLICY = "tiers:\n  warm: {storage_class: STANDARD_IA}\n  cold: {storage_class: GLACIER}\n"


@pytest.fixture
def slow_thaw() -> Iterator[None]:
    """The server takes two looks until what was asked for can be read."""
    from moto.moto_api import state_manager

    state_manager.set_transition("s3::keyrestore", {"progression": "manual", "times": 2})
    yield
    state_manager.unset_transition("s3::keyrestore")


@pytest.fixture
def job(s3_shelf: Shelf, tmp_path: Path) -> UUID:
    (tmp_path / "retention.yaml").write_text(POLICY)
    return s3_shelf.make(FILES)


def class_of(shelf: Shelf, key: str) -> str:
    bucket, name, _ = shelf.store.fs.split_path(shelf.store.path(key))
    head = shelf.store.fs.call_s3("head_object", Bucket=bucket, Key=name)
    return str(head.get("StorageClass", "STANDARD"))


def carry_out(job: UUID, act: Act, tier: Residence) -> None:
    done = run.Done()
    run.carry_out(Due(job, act, tier, 0), load_policy(get_settings()), "test", done)
    assert done.jobs == {act: 1}


def test_from_hot_to_glacier_and_back(s3_shelf: Shelf, job: UUID, slow_thaw: None) -> None:
    pack, policy = layout.pack_key(job, 0), load_policy(get_settings())
    rows, hot = s3_shelf.rows(job), s3_shelf.hot(job)
    carry_out(job, Act.ARCHIVE, Residence.WARM)
    assert s3_shelf.hot(job) == {}
    assert class_of(s3_shelf, pack) == "STANDARD_IA"
    assert tiers.asleep(s3_shelf.store, [pack]) == []
    carry_out(job, Act.COOL, Residence.COLD)
    assert jobs.find(job, s3_shelf.ledger).residence == "cold"
    assert (class_of(s3_shelf, pack), class_of(s3_shelf, layout.archive_key(job))) == ("GLACIER", "STANDARD")
    with pytest.raises(TransientError, match="cold storage class"):
        s3_shelf.store.get(pack)
    assert scrub.scrub_sample().counts() == {"archives": 1, "objects": 1, "bytes": 0, "asleep": 1, "damaged": 0}
    with pytest.raises(AsleepError, match="asked for"):
        run.restore_job(job, policy)
    while run.asleep([str(job)]):
        pass
    assert run.restore_job(job, policy)
    assert (s3_shelf.rows(job), s3_shelf.hot(job)) == (rows, hot)


@dataclass(frozen=True)
class Large:
    """A pack of three parts, in a store behind a proxy."""

    store: Store
    manifest: Manifest
    proxy: Proxy

    def storage_class(self) -> str:
        bucket, name, _ = self.store.fs.split_path(self.store.path("pack"))
        return str(self.store.fs.call_s3("head_object", Bucket=bucket, Key=name).get("StorageClass", "STANDARD"))


@pytest.fixture
def large(s3_store: Store, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Large]:
    monkeypatch.setattr(tiers, "MOST_COPY_BYTES", 2 * PART)
    monkeypatch.setattr(tiers, "COPY_PART_BYTES", PART)
    with proxied(s3_endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        store = Store(s3_store.uri)
        stored = store.copy_in(io.BytesIO(os.urandom(2 * PART + 17)), "pack")
        manifest = Manifest("job", "default", "2026-11-28T00:00:00Z", "test", [stored], [], {})
        proxy.seen.clear()
        yield Large(store, manifest, proxy)


@pytest.mark.parametrize(
    ("method", "part", "fault"),
    [
        ("POST", "uploads", Fault(503, SLOW_DOWN)),
        ("PUT", "partNumber=2", Fault(0)),
        ("PUT", "partNumber=3", Fault(500, BROKEN)),
        ("PUT", "partNumber=3", Fault(200, BROKEN)),
        ("POST", "uploadId", Fault(200, BROKEN)),
    ],
)
def test_a_pack_that_is_too_large_for_one_copy_is_copied_in_parts(
    large: Large, method: str, part: str, fault: Fault
) -> None:
    large.proxy.spoil([fault], method, part)
    tiers.settle(large.store, large.manifest, "STANDARD_IA")
    assert large.proxy.count(method, part) > 1
    assert large.storage_class() == "STANDARD_IA"
    (pack,) = large.manifest.files
    assert large.store.problem("pack", pack.sha256) is None
    assert large.store.abandon(-60) == 0
    large.proxy.seen.clear()
    tiers.settle(large.store, large.manifest, "STANDARD_IA")
    assert large.proxy.count("PUT") == 0, "a second time does nothing"


def test_a_large_pack_is_not_replaced_by_what_is_not_it(large: Large) -> None:
    (pack,) = large.manifest.files
    other = replace(large.manifest, files=[replace(pack, sha256="0" * 64)])
    with pytest.raises(DamagedError, match="pack is damaged: its SHA-256 is"):
        tiers.settle(large.store, other, "STANDARD_IA")
    wrong = b"<CopyPartResult><ETag>&quot;00000000000000000000000000000000&quot;</ETag></CopyPartResult>"
    large.proxy.spoil([Fault(200, wrong)], "PUT", "partNumber=2")
    with pytest.raises(DamagedError, match=f"the server has copied other bytes from {PART} on"):
        tiers.settle(large.store, large.manifest, "STANDARD_IA")
    assert large.storage_class() == "STANDARD"
    assert large.store.problem("pack", pack.sha256) is None
    assert large.store.abandon(-60) == 0, "nothing is left of the copies"


def test_a_document_in_glacier_is_erased_when_its_archive_can_be_read(
    s3_shelf: Shelf, job: UUID, slow_thaw: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the DAG's `thaw` waits for, and the command; where a judge forbids it, nothing is even asked for."""
    document = s3_shelf.rows(job)["documents"][0][1]
    assert erase.archives_to_read(document) == erase.archives_to_read(None) == []
    carry_out(job, Act.ARCHIVE, Residence.COLD)
    asked = ["archive", "purge", "--document", document, "--yes"]
    catalogue.hold(s3_shelf.ledger, job, True, "a judge")
    refused = CliRunner().invoke(app, asked)
    assert (refused.exit_code, "legal hold" in refused.output) == (2, True)
    catalogue.hold(s3_shelf.ledger, job, False, "a judge")
    assert erase.archives_to_read(document) == [str(job)]
    later = CliRunner().invoke(app, [*asked, "--no-wait"])
    assert (later.exit_code, "nothing is removed yet" in later.output) == (1, True)
    monkeypatch.setattr(removal, "LOOK_AGAIN_SECONDS", 0)
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert s3_shelf.hot(job) == {}
    (written,) = purge.certificates(s3_shelf.ledger, 10)
    assert (written.kind, written.counts["jobs"], written.counts["document"]) == ("document", 1, 1)


def test_the_trigger_ends_its_task_when_the_archive_can_be_read(
    s3_shelf: Shelf, job: UUID, slow_thaw: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import TaskDeferred
    from airflow.triggers.base import TaskSuccessEvent

    from tradu_airflow import thaw
    from tradu_airflow.thaw import ThawOperator

    monkeypatch.setattr(thaw, "THAW_SECONDS", 0.01)
    carry_out(job, Act.ARCHIVE, Residence.COLD)
    with pytest.raises(TaskDeferred) as deferred:
        ThawOperator(task_id="thaw", jobs=[str(job)]).execute({})

    async def first() -> object:
        async for event in deferred.value.trigger.run():
            return event
        return None

    assert isinstance(asyncio.run(asyncio.wait_for(first(), 60)), TaskSuccessEvent)
    assert run.asleep([str(job)]) == []
    assert run.restore_jobs([str(job)]) == 1
    ThawOperator(task_id="thaw", jobs=[str(job)]).execute({})  # nothing to wait for: the task ends at once
