"""What archival works with: the ledger as the one role that may delete history, the store, a lease on each job."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tradu import telemetry
from tradu.errors import SystemicError
from tradu.ledger import jobs, rewind
from tradu.ledger.connection import Ledger, get_ledger, instance_id
from tradu.ledger.leases import StageLedger, stage_lease
from tradu.ledger.rows import Job
from tradu.ledger.states import JOB_ENDED
from tradu.settings import get_settings
from tradu.store import Store

ROLE = "tradu_archive"
STAGE = "archive"
Step = Callable[[str], None]
"""Called after each step with its name: where a test kills."""


def no_step(_name: str) -> None:
    """Nobody looks."""


@dataclass(frozen=True, slots=True)
class Held:
    """A job whose archive this process alone works on."""

    job: Job
    ledger: StageLedger
    """Signed in as the archive role, fenced by the lease."""
    store: Store
    line: Ledger
    """As the line sees it: the owner of the tables."""


def archive_ledger() -> Ledger:
    """The ledger of the settings for this process, under the role that may delete history.

    Raises:
        SystemicError: nothing lets us take that role.
    """
    dsn = get_settings().archive_dsn
    if conninfo_to_dict(dsn).get("user") != ROLE:
        dsn = make_conninfo(dsn, options=f"-c role={ROLE}")
    return _archive_ledger(dsn, os.getpid())


@lru_cache(maxsize=4)
def _archive_ledger(dsn: str, _process: int) -> Ledger:
    try:
        psycopg.connect(dsn, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        raise SystemicError(
            f"can't sign in to the ledger as {ROLE} ({str(error).strip()}): set TRADU_ARCHIVE_URL, "
            f"or GRANT {ROLE} to the role of TRADU_LEDGER_URL"
        ) from error
    return Ledger(dsn, instance_id("archive"))


@contextmanager
def held(job_id: UUID, stage: str = STAGE) -> Iterator[Held]:
    """Hold the archive of a job that has ended; its ids are on every log line.

    Raises:
        RequestError: there is no such job.
        LedgerRewoundError: the ledger is older than the store.
        SystemicError: the role that may delete history can't be had.
    """
    settings, line = get_settings(), get_ledger("task")
    store = Store(settings.store)
    rewind.check(line, store)
    jobs.find(job_id, line)
    with (
        telemetry.bound(job_id=str(job_id), stage=stage),
        stage_lease(archive_ledger(), job_id, STAGE, settings.lease_seconds, states=JOB_ENDED) as ours,
    ):
        job = jobs.find(job_id, line)  # as whoever held it before has left it
        yield Held(job, ours, Store(settings.store, guard=ours.check), line)
