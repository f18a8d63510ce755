"""Loaded by the Dask workers of test_usl.py (`preload`): the engine that waits, and what a stack's worker has as well.

Several workers live in one process there. They share its heartbeat, and have as many connections to the ledger as if
each of them had a process of its own.
"""

from __future__ import annotations

from pathlib import Path

from distributed import Worker

from tradu.cluster import batch, heartbeat
from tradu.cluster.workers import Models
from tradu.inference import engines
from tradu.ledger import connection

ENGINES = Path(__file__).resolve().parents[1] / "fixtures" / "engines"
MOST_CONNECTIONS = 64


def know_the_engine() -> None:
    """From now on this process has the engines of the tests too."""
    if str(ENGINES) not in engines.__path__:
        engines.__path__.append(str(ENGINES))
        engines.names.cache_clear()


async def dask_setup(worker: Worker) -> None:
    """Called by Dask for each worker of the process."""
    if batch.heartbeat is None:
        know_the_engine()
        connection.POOL_SIZE = MOST_CONNECTIONS
        batch.kind = f"worker-{worker.name}"
        batch.heartbeat = heartbeat.Heartbeat(connection.instance_id(batch.kind))
    await worker.plugin_add(Models())
