"""What the Airflow scheduler imports before it forks: tasks inherit it and need not import it again."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence

import structlog

MODULES = ("great_expectations", "pandas", "pyarrow.parquet", "psycopg", "distributed", "fsspec")


def preload(modules: Sequence[str] = MODULES) -> None:
    """Import the modules; one that fails is left for the task that needs it, which says so in its own log."""
    log = structlog.get_logger(__name__)
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception:
            log.exception("could not be imported in advance", module=name)
    if threading.active_count() > 1:  # a thread that holds a lock while we fork leaves the child waiting for ever
        log.warning("threads run before the fork", threads=[thread.name for thread in threading.enumerate()])
