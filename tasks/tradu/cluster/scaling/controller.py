"""The controller: looks at the signals once a second and writes down how many workers each pool shall have.

Several may run; the one that holds the lease in the ledger leads. It touches no process: agents bring about what it has
written, so no worker ends with it. One that was frozen and comes back is refused by the database, and follows.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import psycopg
from psycopg.types.json import Jsonb

from tradu.cluster.scaling import scheduler
from tradu.cluster.scaling.decide import Decision, Rule, Signals, State, TierLatency, decide
from tradu.cluster.scaling.metrics import Metrics
from tradu.cluster.scaling.policy import Policy, current_policies
from tradu.cluster.scaling.scheduler import WorkerView
from tradu.errors import LedgerRewoundError, StoreError, SystemicError, TraduError
from tradu.ledger import buckets, pools, rewind
from tradu.ledger.connection import Ledger, Transaction
from tradu.ledger.incidents import IncidentKind, report
from tradu.ledger.pools import Agent, Pool
from tradu.settings import Settings
from tradu.store import Store

log = logging.getLogger(__name__)
TICK_SECONDS = 1.0
LEASE_SECONDS = 5.0
SMOOTH_SECONDS = 10.0
"""Shares of busy workers are averaged over about this time: a worker rests between two batches."""
IDLE_SECONDS = 5
"""A leader that is frozen in its decisions holds the lease's row no longer: another one may lead."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the ledger says of all pools."""

    now: float
    queued: int
    oldest_seconds: float
    latencies: tuple[pools.Latency, ...]
    done: int
    failed: int


class Cluster:
    """What the Dask scheduler said last, and how long ago that was."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._workers: list[WorkerView] = []
        self._heard: float | None = None
        self._reported: dict[str, tuple[float, float]] = {}  # worker -> its own time, when we first saw that
        self._busy: dict[str, tuple[float, float]] = {}  # pool -> smoothed share, when

    def ask(self, now: float) -> None:
        """Look again; where nobody answers the last answer stays, and ages."""
        try:
            self._workers = scheduler.look(self._address)
        except SystemicError as error:
            log.warning("%s", error)
            return
        self._heard = now
        before = self._reported
        self._reported = {
            w.name: before[w.name] if w.name in before and before[w.name][0] == w.heard_at else (w.heard_at, now)
            for w in self._workers
        }

    def of(self, prefixes: Sequence[str]) -> list[WorkerView]:
        """The workers of a pool that take work, by the beginnings of their names."""
        return [w for w in self._workers if w.stays and w.name.startswith(tuple(prefixes))]

    def ages(self, workers: Sequence[WorkerView], now: float) -> dict[str, float]:
        """Seconds since the scheduler answered, and since the most silent of these workers reported to it."""
        if self._heard is None:
            return {}
        return {
            "scheduler": now - self._heard,
            "workers": max((now - self._reported[w.name][1] for w in workers), default=0.0),
        }

    def busy(self, pool: str, workers: Sequence[WorkerView], now: float) -> float | None:
        """Share of a pool that is busy, smoothed; None: it has no workers."""
        if not workers:
            self._busy.pop(pool, None)
            return None
        share = sum(w.busy for w in workers) / len(workers)
        before, at = self._busy.get(pool, (share, now))
        smooth = before + (share - before) * (1 - math.exp((at - now) / SMOOTH_SECONDS))
        self._busy[pool] = smooth, now
        return smooth


class Controller:
    """One controller. `holder` names it among others; `tick` is one look and what follows from it."""

    def __init__(self, ledger: Ledger, settings: Settings, holder: str) -> None:
        self._ledger, self._settings, self._holder = ledger, settings, holder
        self._cluster = Cluster(settings.dask_scheduler)
        self._metrics = Metrics(settings.home / "metrics" / "controller.prom")
        self.epoch = 0
        """Under which it leads; 0: another one does."""

    def run(self, ended: threading.Event) -> None:
        """Tick until the event is set, then leave the lead to whoever comes next."""
        while not ended.is_set():
            begun = time.monotonic()
            try:
                self.tick()
            except (TraduError, psycopg.Error, OSError) as error:  # the next tick tries again; workers stay as they are
                log.warning("nothing decided: %s", error)
            ended.wait(max(0.0, TICK_SECONDS - (time.monotonic() - begun)))
        if self.epoch:
            self._step_down()

    def _step_down(self) -> None:
        try:
            with self._ledger.transaction() as tx:
                tx.run("step_down", holder=self._holder, epoch=self.epoch)
        except (TraduError, psycopg.Error, OSError) as error:
            log.warning("could not step down, its lease ends by itself within %g s: %s", LEASE_SECONDS, error)

    def tick(self) -> dict[str, Decision]:
        """Lead or follow; as leader decide about every pool. The decisions, none where another one leads.

        Raises:
            SystemicError: the ledger can't be reached.
            RequestError: the policy is wrong, and was from the start.
        """
        with self._ledger.transaction() as tx:
            epoch = pools.lead(tx, self._holder, self.epoch, LEASE_SECONDS)
        if epoch != (self.epoch or None):
            log.info("leads, epoch %s", epoch) if epoch else log.info("another controller leads")
        self.epoch = epoch or 0
        if not epoch:
            return {}
        self._cluster.ask(time.monotonic())
        try:
            return self._decide_all(epoch)
        except psycopg.Error as error:
            if error.sqlstate != pools.STALE_EPOCH:
                raise
            self._was_overtaken(str(error).partition("\n")[0])
            return {}

    def _decide_all(self, epoch: int) -> dict[str, Decision]:
        decided: dict[str, tuple[Signals, Decision]] = {}
        trusted = self._trusted()
        with self._ledger.transaction() as tx:
            tx.idle_at_most(IDLE_SECONDS)
            seen, known = observe(tx), pools.pools(tx)
            living = tx.rows("agents", Agent)
            self._metrics.write_buckets(buckets.standing(tx))
            for name, policy in current_policies(self._settings).items():
                own = [agent for agent in living if agent.pool == name]
                if not own and name not in known:
                    continue  # a pool that no machine has
                signals = self._signals(name, policy, own, seen, trusted)
                before = state_of(known[name]) if name in known else _begin(policy, own, signals)
                decision = decide(policy, before, signals, seen.now)
                if name in known or decision.rule not in (Rule.STALE, Rule.LEDGER):  # a pool begins with what is seen
                    self._write(tx, epoch, policy, before, decision, name, signals, seen.now)
                    decided[name] = signals, decision
        try:
            self._metrics.write(decided, epoch)
        except OSError as error:  # a full disk hides the figures, and stops no pool
            log.warning("metrics can't be written: %s", error)
        return {name: decision for name, (_, decision) in decided.items()}

    def _signals(self, name: str, policy: Policy, own: Sequence[Agent], seen: Observed, trusted: bool) -> Signals:
        now = time.monotonic()
        workers = self._cluster.of([agent.prefix for agent in own])
        ages = {"ledger": 0.0, **self._cluster.ages(workers, now)}
        if own:
            ages["agents"] = min(agent.unseen_seconds for agent in own)
        blocks, seconds = sum(t.blocks for t in seen.latencies), sum(t.seconds for t in seen.latencies)
        tried = seen.done + seen.failed
        return Signals(
            workers=len(workers),
            capacity=sum(agent.capacity for agent in own if agent.unseen_seconds <= policy.stale_seconds),
            queued=seen.queued,
            oldest_seconds=seen.oldest_seconds,
            block_seconds=seconds / blocks if blocks else None,
            error_rate=seen.failed / tried if tried else None,
            busy=self._cluster.busy(name, workers, now),
            memory=max((w.memory for w in workers if w.memory is not None), default=None),
            latency=tuple(TierLatency(t.tier, t.blocks, t.p50_seconds, t.p95_seconds) for t in seen.latencies),
            ages=ages,
            ledger_writable=trusted,
        )

    def _trusted(self) -> bool:
        """Whether the ledger is the one that the store belongs to: nothing is claimed from another one."""
        try:
            rewind.watch(self._ledger, Store(self._settings.store))
        except LedgerRewoundError:
            return False
        except StoreError as error:  # its circuit says so
            log.warning("%s", error)
        return True

    def _write(
        self,
        tx: Transaction,
        epoch: int,
        policy: Policy,
        before: State,
        decision: Decision,
        name: str,
        signals: Signals,
        now: float,
    ) -> None:
        after = decision.state
        tx.run(
            "want",
            pool=name,
            epoch=epoch,
            wanted=after.wanted,
            direction=after.direction,
            changed_at=after.changed_at,
            spare_since=after.spare_since,
        )
        inputs = {"signals": asdict(signals), "state": asdict(before), "policy": policy.model_dump(), "now": now}
        said = {"rule": decision.rule, "reason": decision.reason, "inputs": Jsonb(inputs)}
        tx.run("add_decision", pool=name, epoch=epoch, before=before.wanted, wanted=after.wanted, **said)
        if after.wanted != before.wanted:
            log.info("pool %s: %d -> %d workers, %s", name, before.wanted, after.wanted, decision.reason)

    def _was_overtaken(self, said: str) -> None:
        log.warning("%s", said)
        with self._ledger.transaction() as tx:
            report(tx, IncidentKind.STALE_CONTROLLER, said, entity="controller", entity_id=self._holder)
        self.epoch = 0


def observe(tx: Transaction) -> Observed:
    """The signals that the ledger has."""
    ((queued, oldest, now),) = tx.tuples("queue_depth", most=pools.MOST_BLOCKS_OF_A_JOB)
    ((done, failed),) = tx.tuples("recent_outcomes")
    return Observed(now, queued, oldest, tuple(pools.latencies(tx)), done, failed)


def _begin(policy: Policy, agents: Sequence[Agent], signals: Signals) -> State:
    """A pool that nobody has decided about yet has what runs, within its bounds."""
    low, high, _ = policy.bounds(signals.capacity)
    return State(min(high, max(low, sum(agent.running for agent in agents))))


def state_of(pool: Pool) -> State:
    """What a pool remembers."""
    return State(pool.wanted, pool.changed_at, pool.direction, pool.spare_since, pool.paused)


def replayed(inputs: dict[str, object]) -> Decision:
    """The decision that follows from the inputs of a row of `scale_decisions`: the same as was made then."""
    kept = dict(inputs)
    signals = dict(kept["signals"])  # type: ignore[call-overload]
    signals["latency"] = tuple(TierLatency(**tier) for tier in signals["latency"])
    policy, state = Policy.model_validate(kept["policy"]), State(**kept["state"])  # type: ignore[arg-type]
    return decide(policy, replace(state), Signals(**signals), float(str(kept["now"])))
