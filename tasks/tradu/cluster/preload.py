"""Loaded by every Dask worker at its start (`--preload`): JSON logs, and what a batch imports, before the first one."""

from __future__ import annotations

import logging

from distributed import Worker

from tradu import telemetry
from tradu.ledger.connection import instance_id


def dask_setup(worker: Worker) -> None:
    """Called by Dask when the worker starts."""
    telemetry.log_json(instance_id=str(worker.name))
    for name in ("distributed", "tornado", "bokeh"):  # they have handlers of their own, with lines of another form
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    from tradu.cluster import batch
    from tradu.cluster.heartbeat import Heartbeat

    batch.heartbeat = Heartbeat(instance_id(f"worker-{worker.name}"))


def dask_teardown(worker: Worker) -> None:  # noqa: ARG001 - Dask's signature
    """Called by Dask when the worker ends in good order."""
    from tradu.cluster import batch

    if batch.heartbeat is not None:
        batch.heartbeat.close()
