"""Hands shards to the Dask cluster, and finds out whether it still works on them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from tradu.admission import policy_of_running, urgency
from tradu.cluster import feed, is_alive, pools, workers
from tradu.cluster.placement import Host, place
from tradu.cluster.scaling import scheduler
from tradu.cluster.warm import Waiting, needs_of
from tradu.errors import RequestError
from tradu.inference.registry import load_registry
from tradu.ledger.connection import Ledger
from tradu.ledger.rollouts import Rollout
from tradu.ledger.rows import Job
from tradu.settings import Settings

log = logging.getLogger(__name__)
CONNECT_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of a request to work on a shard."""

    epoch: int
    batches: int
    adopted: bool


def submit(job_id: UUID, shard: int, ledger: Ledger, settings: Settings) -> Submission:
    """See to it that the cluster works on a shard: adopt a submission that lives, or make a new one.

    The batches are fed to the cluster from its scheduler (`tradu.cluster.feed`), those of more urgent jobs before those
    that wait already. The keys carry an epoch, so that a late task of an older submission is told from a newer one.
    Dask's own retries are off: the ledger alone says what is tried again.

    Raises:
        SystemicError: the scheduler can't be reached.
    """
    job = str(job_id)
    with ledger.transaction() as tx:
        ((epoch,),) = tx.tuples("epoch", job_id=job_id, shard=shard)
        (request,) = tx.rows("job", Job, job_id=job_id)
        batches = tx.tuples("waiting_batches", job_id=job_id, shard=shard)
    if not batches:
        return Submission(epoch, 0, adopted=False)
    with scheduler.client(settings.dask_scheduler, CONNECT_SECONDS) as client:
        if epoch and client.run_on_scheduler(is_alive, job=job, shard=shard, epoch=epoch):
            return Submission(epoch, len(batches), adopted=True)
        with ledger.transaction(request.request_id) as tx:
            ((epoch,),) = tx.tuples("next_epoch", job_id=job_id, shard=shard)
        hosts = workers.observed(client.scheduler_info())
        groups, sizes = [], Counter[str]()
        for (source, target, tier), group in groupby(
            sorted(batches, key=itemgetter(1, 2, 3, 0)), key=itemgetter(1, 2, 3)
        ):
            numbers = tuple(batch[0] for batch in group)
            pool = pools.pool_of(tier, settings) if tier else pools.DEFAULT
            mine = [host for host in hosts if host.pool == pool]
            of_pool, alone = pools.where(pool, hosts, again=epoch > 1)
            where = _where((source, target, request.profile), mine, of_pool, ledger, settings)
            groups.append(feed.Group(numbers, where, alone))
            sizes[pools.DEFAULT if alone else pool] += len(numbers)
        first = urgency(request.priority, request.created_at, policy_of_running(settings))
        ((most, _),) = sizes.most_common(1)
        client.run_on_scheduler(feed.start, feed.Shard(job, shard, epoch, most, round(first), tuple(groups)))
    return Submission(epoch, len(batches), adopted=False)


def fed(settings: Settings) -> list[feed.Standing]:
    """The shards that the cluster is fed with.

    Raises:
        SystemicError: the scheduler can't be reached.
    """
    with scheduler.client(settings.dask_scheduler, CONNECT_SECONDS) as client:
        found: list[feed.Standing] = client.run_on_scheduler(feed.standing)
        return found


def _where(
    name: tuple[str, str, str],
    hosts: Sequence[Host],
    of_pool: Mapping[str, float],
    ledger: Ledger,
    settings: Settings,
) -> dict[str, Any]:
    """Where batches of a pair of languages and profile may run, as arguments for Dask.

    On any worker of the pool, where each holds every model there is, or none says what it holds.
    """
    must = {"resources": dict(of_pool)} if of_pool else {}
    if all(host.roomy for host in hosts):
        return must
    try:
        registry = load_registry(settings)
    except RequestError as error:  # workers go on with what they read before: any of them may take the batches
        log.error("batches are placed anywhere until this is mended: %s", error)  # noqa: TRY400 - it says where
        return must
    with ledger.transaction() as tx:
        waiting, in_effect = tx.rows("work_to_come", Waiting), tx.rows("rollouts_in_effect", Rollout)
    waiting += [] if any(w.name == name for w in waiting) else [Waiting(*name, 0)]
    needs = needs_of(waiting, registry, settings, hosts[0].pool, in_effect)
    need = next((n for n in needs if n.name == name), None)
    if need is None:  # nothing leads there: the batch says so
        return must
    return restrictions(need.memory_mb(), place(needs, hosts)[name], hosts, of_pool)


def restrictions(
    needed: Mapping[str, float], own: Sequence[str], hosts: Sequence[Host], of_pool: Mapping[str, float]
) -> dict[str, Any]:
    """What Dask is told of where tasks may run that need models.

    Either what a worker must have: its pool, and memory for the models. Or, where that makes no difference between
    these workers, which of them shall hold the models. Never both: Dask drops both, when none is left of the workers
    that are preferred.

    Args:
        needed: what the models take, megabytes by device.
        own: addresses of the workers that shall hold them.
        hosts: the workers of the pool.
        of_pool: Dask resources that the pool asks for.
    """
    large = sum(all(host.budget_mb.get(d, 0.0) >= mb for d, mb in needed.items()) for host in hosts)
    if not of_pool and large in (0, len(hosts)) and len(own) < len(hosts):
        return {"workers": list(own), "allow_other_workers": True}
    memory = {workers.RESOURCES[device]: mb for device, mb in needed.items() if mb} if large else {}
    resources = {**of_pool, **memory}
    return {"resources": resources} if resources else {}
