"""Models are loaded before the first batch comes, and each worker holds those that are placed on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from distributed import Client, LocalCluster
from typer.testing import CliRunner

from fixtures.line import Line
from tradu.cli.main import app
from tradu.cluster import METRIC, dispatch, segments, workers
from tradu.inference.pool import Held
from tradu.settings import get_settings

PROFILE = "profiles:\n  plain: {description: One tier., tiers: [standard]}\n"
ENGLISH, PORTUGUESE = "The library opens at nine.\n", "A biblioteca abre às nove.\n"


@pytest.fixture(scope="module")
def dask_cluster() -> Iterator[str]:
    """Workers of this module alone: they have loaded nothing."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", memory_limit=0
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def client(the_line: Line) -> Iterator[Client]:
    with Client(get_settings().dask_scheduler, set_as_default=False) as connected:
        connected.run(_forget_all)
        yield connected


def _forget_all() -> None:
    segments.engines().close()


def _held() -> Held:
    return segments.engines().held()


def held_when(client: Client, enough: int) -> dict[str, Held]:
    """What each worker holds, once each of them holds so many models."""
    until = time.monotonic() + 60
    while True:
        found: dict[str, Held] = client.run(_held)
        if all(len(held.models) >= enough for held in found.values()):
            return found
        assert time.monotonic() < until, found
        time.sleep(0.1)


def names(held: Held) -> set[str]:
    return {model.partition("@")[0] for model in held.models}


def bounded(client: Client, mb: float | None) -> None:
    """Workers with so much memory for models."""
    client.run(_set, "" if mb is None else str(mb))
    if client.run_on_scheduler(_is_registered):
        client.unregister_worker_plugin(workers.Models.name)
    client.register_plugin(workers.Models())
    until = time.monotonic() + 60
    while (heard := _heard(client)) != (true := client.run(_bound_and_held)):  # heartbeats bring it, one by one
        assert time.monotonic() < until, (heard, true)
        time.sleep(0.05)


def _heard(client: Client) -> dict[str, tuple[dict[str, float], set[str]]]:
    """What the scheduler knows of each worker's memory for models, and of the models that it holds."""
    return {h.address: (dict(h.budget_mb), set(h.loaded)) for h in workers.observed(client.scheduler_info())}


def _bound_and_held() -> tuple[dict[str, float], set[str]]:
    pool = segments.engines()
    return dict(pool.budget_mb), set(pool.held().models)


def _set(mb: str) -> None:
    import os

    os.environ.pop("TRADU_MODEL_MEMORY_MB", None)
    if mb:
        os.environ["TRADU_MODEL_MEMORY_MB"] = mb


def _is_registered(dask_scheduler: Any = None) -> bool:
    return workers.Models.name in dask_scheduler.worker_plugins


def test_the_first_shard_of_a_warm_pool_loads_nothing(the_line: Line, client: Client) -> None:
    bounded(client, None)
    the_line.put({"text.txt": ENGLISH * 400})
    job = the_line.admit(source="en")
    shards = the_line.prepare(job)
    before = held_when(client, 2)  # the model of each rung
    the_line.infer(job, shards)
    after = client.run(_held)
    for address, held in after.items():
        assert names(held) == {"firefox-en-pt", "firefox-en-pt-reranked"}
        assert (held.loads, held.load_seconds) == (before[address].loads, before[address].load_seconds)
    assert sum(held.hits for held in after.values()) > sum(held.hits for held in before.values())
    assert the_line.deliver(job) == "COMPLETED"
    shown = CliRunner().invoke(app, ["models", "workers"])
    assert shown.stdout.count("firefox-en-pt-reranked@") == 2
    said = client.scheduler_info()["workers"].values()
    assert all(worker["metrics"][METRIC]["budget_mb"]["cpu"] > 0 for worker in said)


def test_models_that_do_not_fit_together_stay_on_workers_of_their_own(the_line: Line, client: Client) -> None:
    (the_line.folder / "profiles.yaml").write_text(PROFILE)
    bounded(client, 50)  # one model of 40 MB
    jobs = []
    for source, target, text in (("en", "pt", ENGLISH), ("pt", "en", PORTUGUESE)):
        the_line.put({f"{source}/text.txt": text * 100})
        folder = f"{get_settings().landing}/{source}/"
        jobs.append(the_line.admit(source, source=source, targets=[target], profile="plain", documents=[folder]))
    shards = [the_line.prepare(job) for job in jobs]
    before = held_when(client, 1)
    assert sorted(map(sorted, map(names, before.values()))) == [["firefox-en-pt"], ["firefox-pt-en"]]
    for job, waiting in zip(jobs, shards, strict=True):
        the_line.infer(job, waiting)
    after = client.run(_held)
    assert {a: (h.models, h.loads, h.evictions) for a, h in after.items()} == {
        a: (h.models, h.loads, h.evictions) for a, h in before.items()
    }
    assert [the_line.deliver(job) for job in jobs] == ["COMPLETED", "COMPLETED"]


def test_a_large_model_that_is_added_ends_the_room(the_line: Line, client: Client) -> None:
    bounded(client, 5_000)
    roomy(client, [True, True])
    (the_line.folder / "models.yaml").write_text("models: {firefox-en-pt: {memory_mb: 100000}}")
    client.run(_look)  # as the next batch does
    roomy(client, [False, False])


def roomy(client: Client, expected: list[bool]) -> None:
    """The workers' heartbeats come to say whether all models fit."""
    until = time.monotonic() + 60
    while [host.roomy for host in workers.observed(client.scheduler_info())] != expected:
        assert time.monotonic() < until
        time.sleep(0.1)


def _look() -> None:
    segments.registry()


def test_a_model_that_is_larger_than_every_bound_is_loaded_alone(the_line: Line, client: Client) -> None:
    (the_line.folder / "profiles.yaml").write_text(PROFILE)
    bounded(client, 10)  # too little for any model: it is loaded alone
    the_line.put({"text.txt": ENGLISH})
    job = the_line.admit("tight", source="en", profile="plain")
    (shard,) = the_line.prepare(job)
    hosts = workers.observed(client.scheduler_info())
    where = dispatch._where(("en", "pt", "plain"), hosts, {}, the_line.ledger, get_settings())
    assert "resources" not in where
    the_line.infer(job, [shard])
    assert the_line.blocks(job)[0].state == "VALIDATING"
