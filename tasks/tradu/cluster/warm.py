"""Loads models before the batches arrive that need them: those of the work that waits, each where it is placed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tradu.cluster import WARM_KEY, canary, has_arrived, placement, pools, segments, workers
from tradu.cluster.placement import Host, Need
from tradu.cluster.scaling import scheduler
from tradu.errors import RequestError, SystemicError
from tradu.inference.pool import memory_of
from tradu.inference.registry import Registry, load_registry
from tradu.inference.routes import tier_of
from tradu.ledger import circuits
from tradu.ledger.connection import Ledger
from tradu.ledger.rollouts import Rollout
from tradu.settings import Settings

log = logging.getLogger(__name__)
CONNECT_SECONDS = 5
ARRIVAL_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Waiting:
    """Work that waits for one pair of languages and profile."""

    source: str
    target: str
    profile: str
    size_bytes: int

    @property
    def name(self) -> tuple[str, str, str]:
        """Languages and profile."""
        return self.source, self.target, self.profile


def needs_of(
    waiting: Iterable[Waiting], registry: Registry, settings: Settings, pool: str, in_effect: Iterable[Rollout]
) -> list[Need]:
    """The models that the work climbs through on the workers of a pool, promoted ones in the place of the old ones.

    Pairs that nothing leads between need none.
    """
    needs, rollouts = [], list(in_effect)
    for each in waiting:
        try:
            plan = canary.applied(registry.plan(each.source, each.target, each.profile), rollouts)[0]
        except (RequestError, SystemicError):
            continue
        if pool != pools.DEFAULT and all(pools.pool_of(tier_of(rung), settings) != pool for rung in plan.rungs):
            continue
        rungs = pools.own(plan.rungs, settings, pool)
        models = {m.identity: memory_of(m) for rung in rungs for m in rung}
        load = each.size_bytes / 1e6 * plan.cpu_seconds_per_million_chars
        needs.append(Need(each.name, models, load))
    return needs


def missing(needs: Sequence[Need], hosts: Sequence[Host], shut: Collection[str] = ()) -> dict[str, list[str]]:
    """What each worker should load: the models of the needs placed there that it has not, those of most work first.

    Not those whose circuits are open (`shut`): batches do without them too.
    """
    placed = placement.place(needs, hosts)
    loaded = {host.address: host.loaded for host in hosts}
    wanted: dict[str, list[str]] = {}
    for need in sorted(needs, key=lambda n: (-n.load, n.name)):
        for address in placed[need.name]:
            own = wanted.setdefault(address, [])
            useful = [m for m in need.models if m not in loaded[address] and circuits.of_model(m) not in shut]
            own += [m for m in useful if m not in own]
    return {address: models for address, models in wanted.items() if models}


def warm(
    ledger: Ledger, settings: Settings, registry: Registry | None = None, further: Iterable[Waiting] = ()
) -> dict[str, list[str]]:
    """Have the workers load what the jobs that run, and `further` work, will need; what each was asked to load.

    Never an error: a worker that has not loaded a model loads it with its first batch.
    """
    with ledger.transaction() as tx:
        waiting = [*tx.rows("work_to_come", Waiting), *further]
        in_effect = tx.rows("rollouts_in_effect", Rollout)
        shut = {circuit.name for circuit in circuits.opened(tx)}
    if not waiting:
        return {}
    try:
        known = registry or load_registry(settings)

        def choose(hosts: list[Host]) -> dict[str, list[str]]:
            chosen: dict[str, list[str]] = {}
            for pool in {host.pool for host in hosts}:
                own = [host for host in hosts if host.pool == pool]
                chosen |= missing(needs_of(waiting, known, settings, pool, in_effect), own, shut)
            return chosen

        asked = ask(choose, settings)
    except (SystemicError, RequestError, OSError) as error:
        log.warning("no models are loaded ahead: %s", error)
        return {}
    for address, models in asked.items():
        log.info("%s loads ahead: %s", address, ", ".join(models))
    return asked


def ask(choose: Callable[[list[Host]], dict[str, list[str]]], settings: Settings) -> dict[str, list[str]]:
    """Ask workers to load models (identities by address), as `choose` says for the workers there are; without waiting.

    They do it before batches that wait in their queues.

    Raises:
        SystemicError: the scheduler can't be reached.
    """
    from distributed import fire_and_forget

    with scheduler.client(settings.dask_scheduler, CONNECT_SECONDS) as client:
        chosen = choose(workers.observed(client.scheduler_info()))
        keys: list[Any] = [(WARM_KEY, address, *models) for address, models in chosen.items()]
        futures = [
            client.submit(
                load_models, address, models, key=key, workers=[address], allow_other_workers=True, priority=1,
                retries=0, pure=False,
            )
            for key, (address, models) in zip(keys, chosen.items(), strict=True)
        ]  # fmt: skip
        fire_and_forget(futures)
        until = time.monotonic() + ARRIVAL_SECONDS
        while not all(future.done() for future in futures) and time.monotonic() < until:
            if client.run_on_scheduler(has_arrived, keys=keys):
                break
            time.sleep(0.05)
    return chosen


def load_models(address: str, models: Sequence[str]) -> tuple[str, ...]:
    """Runs in a Dask worker: load models by their identities; what could not be loaded, and why."""
    from distributed import get_worker

    if get_worker().address != address:  # the one that was meant has gone
        return ()
    known = {model.identity: model for model in segments.registry().models()}
    failures = segments.engines().warm(known[name] for name in models if name in known)
    for failure in failures:
        log.warning("not loaded ahead: %s", failure)
    return failures
