"""The lease of a stage: one process at a time works on a stage of a job, however often Airflow starts it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from tradu.errors import TransientError
from tradu.ledger.connection import Ledger

log = logging.getLogger(__name__)
BEATS_PER_LEASE = 3
LOOK_AGAIN_SECONDS = 0.5


@contextmanager
def stage_lease(ledger: Ledger, job_id: UUID, stage: str, lease_seconds: float) -> Iterator[int]:
    """Hold a stage of a job while the block runs, by heartbeat; the fencing token.

    A second process waits until the first has let go: it then finds the work done. A first one that is lost lets go
    when its lease runs out.

    Raises:
        TransientError: another process has held the stage all the time for ten leases.
    """
    token = _acquire(ledger, job_id, stage, lease_seconds)
    done = threading.Event()
    held = {"job_id": job_id, "stage": stage, "token": token}

    def keep() -> None:
        while not done.wait(lease_seconds / BEATS_PER_LEASE):
            try:
                with ledger.transaction() as tx:
                    tx.run("extend_stage", lease_seconds=lease_seconds, **held)
            except Exception as error:  # the next beat tries again; the lease may run out meanwhile
                log.warning("no heartbeat for %s: %s", stage, error)

    keeper = threading.Thread(target=keep, name=f"lease-{stage}", daemon=True)
    keeper.start()
    try:
        yield token
    finally:
        done.set()
        keeper.join()
        with ledger.transaction() as tx:
            tx.run("release_stage", **held)


def _acquire(ledger: Ledger, job_id: UUID, stage: str, lease_seconds: float) -> int:
    until = time.monotonic() + 10 * lease_seconds
    while True:
        with ledger.transaction() as tx:
            rows = tx.tuples("lease_stage", job_id=job_id, stage=stage, lease_seconds=lease_seconds)
        if rows:
            return int(rows[0][0])
        if time.monotonic() > until:
            raise TransientError(f"another process holds {stage} of job {job_id}: see `tradu job {job_id}`")
        time.sleep(LOOK_AGAIN_SECONDS)
