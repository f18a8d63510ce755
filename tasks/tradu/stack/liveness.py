"""Ends Airflow's components and Dask's scheduler when they run and give no sign of life: they are started again.

An Airflow scheduler whose database was away may end its loop and then wait for its executor for ever
(apache/airflow#43440). It is neither dead, so that its supervisor would act, nor at work. Who asks a Dask scheduler
that is frozen, or whose loop is stuck, waits for it too.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg

from tradu.errors import TraduError
from tradu.stack import health
from tradu.stack.layout import Layout
from tradu.stack.services import DASK_SCHEDULER
from tradu.stack.supervise import RUNNING, Supervisor

log = logging.getLogger(__name__)
LOOK_SECONDS = 15.0
SILENT_SECONDS = 120.0
"""More than a busy machine causes: a component says that it lives every 5 s, and counts as well for 30 s after."""
API_SERVER = "airflow-api-server"
PREFIX = "airflow-"


@dataclass
class Silence:
    """Since when each component has been silent."""

    since: dict[str, float] = field(default_factory=dict)

    def look(self, well: Mapping[str, bool], uptimes: Mapping[str, float], now: float) -> list[str]:
        """Take in what was seen at a moment, in seconds; the components that have been silent for too long.

        Args:
            well: health by service name; of those that could not be asked nothing is known.
            uptimes: seconds since the start of each that runs: one that starts is given the same time.
            now: the moment, on a clock that never goes back.
        """
        silent = {name for name, is_well in well.items() if not is_well and uptimes.get(name, 0.0) >= SILENT_SECONDS}
        self.since = {name: self.since.get(name, now) for name in silent}
        return sorted(name for name, moment in self.since.items() if now - moment >= SILENT_SECONDS)


def watch(layout: Layout, ended: threading.Event) -> None:
    """Look at the components until the event is set."""
    silence, supervisor = Silence(), Supervisor(layout)
    while not ended.wait(LOOK_SECONDS):
        try:
            _look(layout, supervisor, silence)
        except (TraduError, psycopg.Error, OSError) as error:  # nothing is known: nobody is blamed
            silence.since.clear()
            log.warning("it could not be seen who is alive: %s", error)


def _look(layout: Layout, supervisor: Supervisor, silence: Silence) -> None:
    """End who has been silent for too long."""
    states = {s.name: s for s in supervisor.states() if s.state == RUNNING}
    uptimes = {name: state.uptime_seconds for name, state in states.items()}
    well = _airflow_well(layout, {name: up for name, up in uptimes.items() if name.startswith(PREFIX)})
    if DASK_SCHEDULER in states:
        well[DASK_SCHEDULER] = health.dask_worker_names(layout.settings.dask_scheduler) is not None
    for name in silence.look(well, uptimes, time.monotonic()):
        if pid := states[name].pid:
            log.error("%s has given no sign of life for %.0f s, and is started again", name, SILENT_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def _airflow_well(layout: Layout, uptimes: Mapping[str, float]) -> dict[str, bool]:
    """Health of Airflow's components that can be asked. Where their database is away nobody is blamed."""
    if health.database_error(layout.airflow_dsn) is not None:
        return {}
    begun = {name: time.time() - uptime for name, uptime in uptimes.items()}
    found = health.airflow_health(layout, begun) or {API_SERVER: False}
    schedulers = {name: moment for name, moment in begun.items() if name.startswith("airflow-scheduler")}
    if len(schedulers) > 1:
        found |= health.scheduler_health(layout, schedulers)
    return found
