"""The watchdog of objects: what lies in the store and no row names, and what a row names and is not there.

Nothing is removed but what no job can ever want: halves of writes that were killed, and results of attempts that were
refused. The rest is told: a job that the ledger does not know may be one that it has forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar
from uuid import UUID

from tradu import layout
from tradu.ledger import objects
from tradu.ledger.connection import Ledger, Transaction
from tradu.ledger.incidents import IncidentKind, report
from tradu.settings import Settings
from tradu.store import Store

SAY_AGAIN_SECONDS = 86_400
PAGE = 1_000
_Place = TypeVar("_Place", str, UUID)


@dataclass(slots=True)
class _Some:
    """Objects of one kind: how many, and where one of them is. A store may have lost more than the memory holds."""

    first: str
    count: int = 0


def _counted(found: dict[_Place, _Some], place: _Place, keys: Iterable[str]) -> None:
    for key in keys:
        found.setdefault(place, _Some(layout.nameless(key))).count += 1


def look(ledger: Ledger, store: Store, settings: Settings) -> dict[str, int]:
    """Go through the store and the objects of jobs at work; counts of what was found and removed."""
    orphans, removed = _orphans(ledger, store, settings.orphan_hours * 3_600)
    missing = _missing(ledger, store)
    with ledger.transaction() as tx:
        for prefix, some in sorted(orphans.items()):
            said = f"{some.count} objects below {prefix}/ are named by no row, for example {some.first}"
            report(
                tx,
                IncidentKind.OBJECT_ORPHANED,
                said,
                entity="object",
                entity_id=some.first,
                once_seconds=SAY_AGAIN_SECONDS,
            )
        for job_id, some in sorted(missing.items()):
            said = f"{some.count} objects are missing: `tradu verify {job_id}` lists them"
            report(
                tx,
                IncidentKind.OBJECT_MISSING,
                said,
                job_id=job_id,
                entity="object",
                entity_id=some.first,
                once_seconds=SAY_AGAIN_SECONDS,
            )
    return {
        "orphans": sum(some.count for some in orphans.values()),
        "removed": removed,
        "missing": sum(some.count for some in missing.values()),
    }


def _orphans(ledger: Ledger, store: Store, old_seconds: float) -> tuple[dict[str, _Some], int]:
    """Old objects that no row names, by prefix; and how many were removed."""
    found: dict[str, _Some] = {}
    removed = store.abandon(old_seconds)
    for prefix in layout.JOB_PREFIXES:
        old = (key for key, age in store.keys(prefix) if age > old_seconds)
        while page := list(islice(old, PAGE)):
            with ledger.transaction() as tx:
                unnamed, worthless = _judge(tx, page)
            for key in worthless:
                store.remove(key)
            removed += len(worthless)
            _counted(found, prefix, unnamed)
    return found, removed


def _judge(tx: Transaction, keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """Of these keys, those that no row names and a person must look at, and those that can go."""
    worthless = [key for key in keys if key.startswith(layout.INCOMING)]
    rest = sorted(set(keys) - set(worthless))
    raw = {key: key.rsplit("/", 1)[-1] for key in rest if key.startswith("raw/")}
    known = {d for (d,) in tx.tuples("known_raw", document_ids=list(raw.values()))}
    unnamed = [key for key, document in raw.items() if document not in known]
    by_job: dict[UUID, list[str]] = {}
    for key in rest:
        if key not in raw:
            job_id = _job_of(key)
            if job_id is None:
                unnamed.append(key)
            else:
                by_job.setdefault(job_id, []).append(key)
    jobs = {job_id for (job_id,) in tx.tuples("known_jobs", job_ids=list(by_job))}
    for job_id, own in by_job.items():
        named = {k for (k,) in tx.tuples("known_objects", job_id=job_id, object_keys=own)}
        lost = [key for key in own if key not in named]
        refused = [key for key in lost if job_id in jobs and layout.is_result(key)]
        worthless += refused
        unnamed += sorted(set(lost) - set(refused))
    return unnamed, worthless


def _job_of(key: str) -> UUID | None:
    try:
        return UUID(key.split("/")[1])
    except (IndexError, ValueError):
        return None


def _missing(ledger: Ledger, store: Store) -> dict[UUID, _Some]:
    """Objects of jobs at work that are not there, asked by their exact keys."""
    with ledger.transaction() as tx:
        jobs = [job_id for (job_id,) in tx.tuples("running_jobs")]
    found: dict[UUID, _Some] = {}
    for job_id in jobs:
        _counted(found, job_id, (o.key for o in objects.of_job(ledger, job_id) if not store.exists(o.key)))
    return found
