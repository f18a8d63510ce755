"""What a Dask worker says about its models, and how much memory they may take there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from distributed import Worker, WorkerPlugin
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tradu.cluster import METRIC, resource, segments
from tradu.cluster.placement import Host
from tradu.errors import TraduError
from tradu.inference.pool import EnginePool, memory_of
from tradu.inference.registry import Registry
from tradu.settings import Settings, get_settings
from tradu.stack.host import gpu_memory_bytes, this_host

log = logging.getLogger(__name__)
RESOURCES = {"cpu": "model-mb", "cuda": "model-gpu-mb"}
"""The Dask resources that say how much memory models may take on a worker, by device, megabytes."""
SHARE = 0.6
"""Of a worker's memory; the rest is for texts, results and libraries."""
_MB = 1_000_000


class Models(WorkerPlugin):
    """Gives the models of a worker's process their bound of memory, and makes known what it holds."""

    name = "tradu-models"
    idempotent = True

    async def setup(self, worker: Worker) -> None:
        """Bound the pool, and say so in the worker's resources, its heartbeats and its metrics."""
        pool = segments.engines()
        settings = get_settings()
        pool.budget_mb = budget_mb(settings, worker.memory_manager.memory_limit)
        with suppress(TraduError):  # the first batch says what is wrong
            await asyncio.to_thread(segments.registry)  # it may read weights, which takes a while
        worker.metrics[METRIC] = lambda _worker: (
            asdict(pool.held())
            | {
                "budget_mb": pool.budget_mb,
                "roomy": holds_all(pool, segments.last_read()),
                "pool": settings.pool,
            }
        )
        resources = {RESOURCES[device]: mb for device, mb in pool.budget_mb.items()}
        resources[resource(settings.pool)] = float(worker.state.nthreads)
        if worker.status.name == "running":
            await worker.set_resources(**resources)
        else:  # it tells the scheduler when it registers
            worker.state.total_resources.update(resources)
            worker.state.available_resources.update(resources)
        _Exposed.pool = pool
        if not _Exposed.registered:
            REGISTRY.register(_Exposed())
            _Exposed.registered = True


class _Exposed(Collector):
    """The pool's counts for Prometheus: the worker's server shows them at /metrics."""

    pool: EnginePool
    registered = False

    def collect(self) -> Iterator[Metric]:
        held = self.pool.held()
        yield CounterMetricFamily("tradu_model_hits", "Engines asked for that were loaded", held.hits)
        yield CounterMetricFamily("tradu_model_loads", "Engines that had to be loaded", held.loads)
        yield CounterMetricFamily("tradu_model_load_seconds", "Seconds spent on loading engines", held.load_seconds)
        yield CounterMetricFamily("tradu_model_evictions", "Engines unloaded to make room", held.evictions)
        memory = GaugeMetricFamily(
            "tradu_model_memory_megabytes", "What loaded models take, as the registry says", labels=["device"]
        )
        for device, mb in held.memory_mb.items():
            memory.add_metric([device], mb)
        yield memory


def budget_mb(settings: Settings, worker_bytes: int | None) -> dict[str, float]:
    """What models may take in a worker's process, megabytes by device.

    Args:
        settings: may say so outright.
        worker_bytes: the memory that Dask grants the worker (`tradu up`: its share of the host's, or the container's);
            None: nobody has said, and it has a core's share.
    """
    if not worker_bytes:
        host = this_host()
        worker_bytes = host.memory_bytes // host.cores
    budget = {"cpu": settings.model_memory_mb or float(int(worker_bytes * SHARE / _MB))}
    if gpu := gpu_memory_bytes():
        budget["cuda"] = float(int(gpu * SHARE / _MB))
    return budget


def holds_all(pool: EnginePool, registry: Registry | None) -> bool:
    """Whether every model that is installed fits at once: then it matters to no batch where it runs.

    Not said where no registry could be read yet.
    """
    if registry is None:
        return False
    total: dict[str, float] = {}
    for model in registry.models():
        if registry.status(model).installed:
            for device, mb in memory_of(model).items():
                total[device] = total.get(device, 0.0) + mb
    return all(mb <= pool.budget_mb.get(device, 0.0) for device, mb in total.items())


def observed(info: Mapping[str, Any]) -> list[Host]:
    """The workers of a scheduler (`Client.scheduler_info()`) that say what models they hold."""
    found = []
    for address, worker in info["workers"].items():
        if (held := worker.get("metrics", {}).get(METRIC)) is not None:
            found.append(Host(address, held["budget_mb"], frozenset(held["models"]), held["roomy"], held["pool"]))
    return found
