"""The ledger as commands use it: reached quickly or not at all, and jobs found by a part of their id."""

from __future__ import annotations

import re
from uuid import UUID

import psycopg

from tradu.errors import RequestError, SystemicError
from tradu.ledger.connection import Ledger, get_ledger
from tradu.ledger.rows import Job
from tradu.settings import Settings

CONNECT_SECONDS = 5
_PART = re.compile(r"[0-9a-f-]{1,36}")


def open_ledger(settings: Settings) -> Ledger:
    """The ledger of the settings.

    Raises:
        SystemicError: there is none yet, or it can't be reached within 5 s (a pool would go on trying for 30).
    """
    try:
        psycopg.connect(settings.ledger_dsn, connect_timeout=CONNECT_SECONDS).close()
    except psycopg.OperationalError as error:
        raise SystemicError(
            f"the ledger can't be reached ({error}): start the stack with `tradu up`, or see `tradu doctor`"
        ) from error
    return get_ledger("cli")


def find_job(ledger: Ledger, name: str) -> Job:
    """The job that an id, or the first or last part of one, names.

    Raises:
        RequestError: none or several do, or it can't be a part of an id.
    """
    part = name.strip().lower()
    if not _PART.fullmatch(part):
        raise RequestError(f"{name!r} is not a job's id: `tradu jobs` lists them")
    with ledger.transaction() as tx:
        if len(part) == 36:
            found = tx.rows("job", Job, job_id=_uuid(part))
        else:
            found = tx.rows("find_jobs", Job, begins=f"{part}%", ends=f"%{part}")
    if not found:
        raise RequestError(f"no job {name}: `tradu jobs` lists them")
    if len(found) > 1:
        raise RequestError(f"{name} is a part of several jobs' ids: {', '.join(str(job.job_id) for job in found)}")
    return found[0]


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise RequestError(f"{text!r} is not a job's id: `tradu jobs` lists them") from None
