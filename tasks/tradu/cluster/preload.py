"""Loaded by every Dask worker and scheduler at its start (`--preload`): JSON logs, and a heartbeat in the ledger."""

from __future__ import annotations

import logging

from distributed import Scheduler, Worker

from tradu import telemetry
from tradu.ledger.connection import instance_id


async def dask_setup(server: Worker | Scheduler) -> None:
    """Called by Dask when the server starts; a worker also imports what a batch needs, before the first one."""
    name = f"worker-{server.name}" if isinstance(server, Worker) else "dask-scheduler"
    telemetry.log_json(instance_id=name)
    for library in ("distributed", "tornado", "bokeh"):  # they have handlers of their own, with lines of another form
        logger = logging.getLogger(library)
        logger.handlers, logger.propagate = [], True
    from tradu.cluster import heartbeat

    beating = heartbeat.Heartbeat(instance_id(name))
    if isinstance(server, Worker):
        from tradu.cluster import batch
        from tradu.cluster.workers import Models

        batch.heartbeat, batch.kind = beating, name
        await server.plugin_add(Models())  # it also reads the registry
