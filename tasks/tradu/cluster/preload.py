"""Loaded by every Dask worker at its start (`--preload`): JSON logs, and what a batch imports, before the first one."""

from __future__ import annotations

import logging

from distributed import Worker

from tradu import telemetry


def dask_setup(worker: Worker) -> None:
    """Called by Dask when the worker starts."""
    telemetry.log_json(instance_id=str(worker.name))
    for name in ("distributed", "tornado", "bokeh"):  # they have handlers of their own, with lines of another form
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    import tradu.cluster.batch  # noqa: F401
