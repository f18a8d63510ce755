"""Archives on S3: storage classes, and a restore that waits for Glacier."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from fixtures.archive import Shelf
from tradu import layout
from tradu.archival import run, scrub, tiers
from tradu.archival.policy import Act, Due, Residence, load_policy
from tradu.archival.restore import AsleepError
from tradu.errors import TransientError
from tradu.ledger import jobs
from tradu.settings import get_settings

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
