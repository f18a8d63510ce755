"""Hands shards to the Dask cluster, and finds out whether it still works on them."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tradu.cluster import KEY, is_alive
from tradu.errors import SystemicError
from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Job
from tradu.settings import Settings

log = logging.getLogger(__name__)
CONNECT_SECONDS = 20
ARRIVAL_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of a request to work on a shard."""

    epoch: int
    batches: int
    adopted: bool


def submit(job_id: UUID, shard: int, ledger: Ledger, settings: Settings) -> Submission:
    """See to it that the cluster works on a shard: adopt a submission that lives, or make a new one.

    The keys carry an epoch, so that a late task of an older submission is told from a newer one. Dask's own retries
    are off: the ledger alone says what is tried again.

    Raises:
        SystemicError: the scheduler can't be reached, or doesn't take the tasks.
    """
    from distributed import Client, fire_and_forget

    from tradu.cluster.batch import run_batch

    job = str(job_id)
    with ledger.transaction() as tx:
        ((epoch,),) = tx.tuples("epoch", job_id=job_id, shard=shard)
        (request,) = tx.rows("job", Job, job_id=job_id)
        batches = [b for (b,) in tx.tuples("waiting_batches", job_id=job_id, shard=shard)]
    if not batches:
        return Submission(epoch, 0, adopted=False)
    try:
        client = Client(settings.dask_scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise SystemicError(
            f"no Dask scheduler at {settings.dask_scheduler} ({error}): `tradu status` shows it"
        ) from error
    try:
        if epoch and client.run_on_scheduler(is_alive, job=job, shard=shard, epoch=epoch):
            return Submission(epoch, len(batches), adopted=True)
        with ledger.transaction(request.request_id) as tx:
            ((epoch,),) = tx.tuples("next_epoch", job_id=job_id, shard=shard)
        keys: list[Any] = [(KEY, job, shard, epoch, batch) for batch in batches]
        futures = client.map(run_batch, [job] * len(batches), batches, key=keys, pure=False, retries=0)
        fire_and_forget(futures)
        _wait_for_arrival(client, job, shard, epoch, futures)
    finally:
        client.close()
    return Submission(epoch, len(batches), adopted=False)


def _wait_for_arrival(client: Any, job: str, shard: int, epoch: int, futures: list[Any]) -> None:
    """The client must not leave before the scheduler has the tasks: they travel on a stream of their own."""
    until = time.monotonic() + ARRIVAL_SECONDS
    while not (all(f.done() for f in futures) or client.run_on_scheduler(is_alive, job=job, shard=shard, epoch=epoch)):
        if time.monotonic() > until:
            raise SystemicError(f"the Dask scheduler did not take shard {shard} of job {job} in {ARRIVAL_SECONDS} s")
        time.sleep(0.05)
