"""The lease of a stage: one process at a time works on a stage of a job, however often Airflow starts it.

A process that has lost its lease (it was frozen, or cut off from the ledger) may write nothing more: every transaction
of a stage first makes sure that the lease is still its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from uuid import UUID

from tradu.errors import RequestError, StaleLeaseError, TransientError
from tradu.ledger.connection import Ledger, Transaction
from tradu.ledger.incidents import IncidentKind, report
from tradu.ledger.rows import Job
from tradu.ledger.states import JobState

log = logging.getLogger(__name__)
BEATS_PER_LEASE = 3
LOOK_AGAIN_SECONDS = 0.5
WORKED_ON = frozenset({JobState.RUNNING})


class StageLedger(Ledger):
    """The ledger as the holder of a stage sees it: fenced by the token of its lease."""

    def __init__(
        self, ledger: Ledger, job_id: UUID, stage: str, token: int, states: Collection[str] = WORKED_ON
    ) -> None:
        super().__init__(ledger.dsn, ledger.actor, ledger._pool)
        self._plain, self._job_id, self._stage, self._states = ledger, job_id, stage, states
        self._held = {"job_id": job_id, "stage": stage, "token": token, "states": sorted(states)}

    @contextmanager
    def _transaction(self, request_id: str, *, pipelined: bool) -> Iterator[Transaction]:
        """One transaction of the stage; nobody else can take the stage before it has ended.

        Raises:
            StaleLeaseError: another process has taken the stage over.
            RequestError: the job is in no state for this stage: it was cancelled, or has ended.
            SystemicError: no connection could be had in 30 s.
        """
        with super()._transaction(request_id, pipelined=pipelined) as tx:
            mine = bool(tx.tuples("hold_stage", **self._held))
            if mine:
                yield tx
        if not mine:
            self._refuse(request_id)

    def check(self) -> None:
        """Make sure that the stage is still ours, before something outside of the ledger is changed.

        Raises:
            StaleLeaseError: another process has taken the stage over.
            RequestError: the job is in no state for this stage: it was cancelled, or has ended.
        """
        with self._plain.transaction() as tx:  # without a lock: a transaction of our own may hold the row
            mine = bool(tx.tuples("holds_stage", **self._held))
        if not mine:
            self._refuse("")

    def _refuse(self, request_id: str) -> None:
        job_id, stage = self._job_id, self._stage
        with self._plain.transaction(request_id) as tx:
            (job,) = tx.rows("job", Job, job_id=job_id)
        if job.state not in self._states:
            raise RequestError(f"job {job_id} is {job.state}: {job.reason or 'nothing more is done'}")
        said = f"{stage} of job {job_id} was taken over by another process while this one was away"
        with self._plain.transaction(request_id) as tx:
            report(tx, IncidentKind.STALE_STAGE, said, job_id=job_id, entity="stage", entity_id=stage)
        raise StaleLeaseError(said)


@contextmanager
def stage_lease(
    ledger: Ledger,
    job_id: UUID,
    stage: str,
    lease_seconds: float,
    actor: str | None = None,
    states: Collection[str] = WORKED_ON,
) -> Iterator[StageLedger]:
    """Hold a stage of a job while the block runs, by heartbeat; the ledger, fenced by the lease's token.

    `states` are those in which a job lets the stage work: RUNNING for the line, the ended ones for the archive.

    A second process waits until the first has let go: it then finds the work done. A first one that is lost lets go
    when its lease runs out.

    Raises:
        TransientError: another process has held the stage all the time for ten leases.
    """
    ledger = ledger.as_actor(actor or ledger.actor)
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
        yield StageLedger(ledger, job_id, stage, token, states)
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
