"""The agent of a machine: starts, drains and stops its Dask workers, so that as many run as the ledger wants here.

The workers are the supervisor's processes, not the agent's: one that is killed is started again by the supervisor, and
none ends with the agent.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from tradu.cluster.scaling import scheduler
from tradu.cluster.scaling.scheduler import WorkerView
from tradu.errors import SystemicError, TraduError
from tradu.ledger import pools
from tradu.ledger.connection import Ledger
from tradu.stack import liveness
from tradu.stack.host import Host
from tradu.stack.layout import Layout
from tradu.stack.roster import Do, Worker, plan, to_roll
from tradu.stack.services import LINE, WORKER_PREFIX, pool_of, worker_count, worker_name
from tradu.stack.supervise import STOPPING, ProcessState, Supervisor

log = logging.getLogger(__name__)
TICK_SECONDS = 1.0


@dataclass
class _Draining:
    since: float
    reports: set[float] = field(default_factory=set)


class HostAgent:
    """The agent of one machine and stack."""

    def __init__(self, ledger: Ledger, layout: Layout, host: Host) -> None:
        self._ledger, self._layout = ledger, layout
        self._supervisor = Supervisor(layout)
        self._capacity = worker_count(layout, host)
        self._pool = pool_of(host)
        self._name = f"{socket.gethostname()}-{layout.identity[:4]}"
        self._draining: dict[str, _Draining] = {}
        self._first = True
        self._looked = False

    def run(self, ended: threading.Event) -> None:
        """Tick until the event is set, and end meanwhile who gives no sign of life; without workers only that."""
        threading.Thread(target=liveness.watch, args=(self._layout, ended), name="liveness", daemon=True).start()
        if not self._capacity:
            ended.wait()
        while not ended.is_set():
            try:
                self.tick()
            except (TraduError, psycopg.Error, OSError) as error:  # the next tick tries again; workers stay as they are
                log.warning("workers stay as they are: %s", error)
            ended.wait(TICK_SECONDS)

    def tick(self) -> list[tuple[Do, str]]:
        """Look at the workers and the ledger, and do the next steps; which.

        Raises:
            SystemicError: the ledger, the supervisor or the scheduler can't be reached.
        """
        states = [s for s in self._supervisor.states() if s.name.startswith(WORKER_PREFIX)]
        states.sort(key=lambda s: int(s.name.removeprefix(WORKER_PREFIX)))
        services = states[: self._capacity]  # those after them are TRADU_POOL_WORKERS': as many as were asked for
        up = sum(s.is_up for s in services)
        with self._ledger.transaction() as tx:
            pool = pools.pools(tx).get(self._pool)
            roll = pool.roll_age_seconds if pool else None
            rolling = to_roll([Worker(s.name, s.is_up, uptime_seconds=s.uptime_seconds) for s in services], roll)
            said = {"prefix": worker_name(self._layout, ""), "capacity": self._capacity, "to_roll": len(rolling)}
            tx.run("see_agent", agent=self._name, pool=self._pool, running=up, first=self._first, **said)
            others = [agent for agent in pools.agents(tx) if agent.pool == self._pool]
        self._first = False
        target = pools.share(self._name, pool, others, up)
        if up == target and not rolling and not self._draining and self._looked:
            return []  # as on a machine that is not scaled: the scheduler is not asked
        workers = self._seen(services, cluster := self._cluster())
        self._looked = cluster is not None  # an agent before this one may have left a worker that retires
        actions = plan(workers, target, roll, cluster=cluster is not None)
        for do, service in actions:
            self._do(do, service)
        return actions

    def _cluster(self) -> list[WorkerView] | None:
        try:
            return scheduler.look(self._layout.settings.dask_scheduler)
        except SystemicError as error:
            log.warning("%s", error)
            return None

    def _seen(self, services: Sequence[ProcessState], cluster: Sequence[WorkerView] | None) -> list[Worker]:
        views = {view.name: view for view in cluster or ()}
        now, workers = time.monotonic(), []
        self._draining = {
            name: d for name, d in self._draining.items() if any(s.name == name and s.is_up for s in services)
        }
        for state in services:
            view = views.get(self._dask_name(state.name))
            if view and state.is_up and not view.stays:  # an agent before this one has told it to retire
                self._draining.setdefault(state.name, _Draining(now))
            draining = self._draining.get(state.name)
            if draining and view:
                draining.reports.add(view.heard_at)
            workers.append(
                Worker(
                    state.name,
                    state.is_up,
                    state.state == STOPPING,
                    state.uptime_seconds,
                    joined=view is not None,
                    retiring=view is not None and not view.stays,
                    executing=view.executing if view else 0,
                    draining_seconds=now - draining.since if draining else None,
                    beats=len(draining.reports) - 1 if draining else 0,
                )
            )
        return workers

    def _do(self, do: Do, service: str) -> None:
        log.info("%s %s", do, service)
        name = self._dask_name(service)
        if do is Do.START:
            self._supervisor.start_service(LINE, service)
        elif do is Do.RETIRE:
            scheduler.retire(self._layout.settings.dask_scheduler, [name])
            self._draining[service] = _Draining(time.monotonic())
        else:
            if do is Do.HAND_BACK:
                with self._ledger.transaction() as tx:
                    tx.run("give_up_blocks", instance=f"worker-{name}@{socket.gethostname()}:")
            # forgotten first: what waits in its queue is given to others, and is no task that a worker has died of
            scheduler.retire(self._layout.settings.dask_scheduler, [name], remove=True)
            self._supervisor.stop_service(LINE, service)

    def _dask_name(self, service: str) -> str:
        return worker_name(self._layout, service.removeprefix(WORKER_PREFIX))
