"""Runs of archival as DAGs and commands start them: what is due, in groups, each of which may be done again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from tradu.archival import archive, catalogue, purge, restore, select, tiers
from tradu.archival.context import held
from tradu.archival.policy import MOST_GROUPS, Act, Candidate, Due, Policy, Residence, due, load_policy
from tradu.errors import DamagedError, DataError, RequestError, SystemicError, TransientError
from tradu.ledger.connection import Ledger, get_ledger
from tradu.settings import get_settings
from tradu.store import Store

log = logging.getLogger(__name__)
ARCHIVING = frozenset({Act.ARCHIVE, Act.COOL})
PURGING = frozenset({Act.PURGE})
MOST_FAILURES = 3
"""Jobs with which something goes wrong, one after the other: then it is the ledger or the store, and not they."""


@dataclass(slots=True)
class Done:
    """What a run, or a group of it, did."""

    jobs: Counter[str] = field(default_factory=Counter)
    """Jobs by what was done with them; `left`: those that stay as they are, each with an incident."""
    freed_bytes: int = 0
    """No longer in hot."""
    taken_bytes: int = 0
    """What the archives made take."""

    def counts(self) -> dict[str, int]:
        """As it goes through XCom: counts."""
        return {**self.jobs, "freed_bytes": self.freed_bytes, "taken_bytes": self.taken_bytes}


def due_now(acts: frozenset[Act]) -> list[Due]:
    """What is due of these acts, by the ledger and the policy of the settings."""
    return _due(get_ledger("task"), load_policy(get_settings()), datetime.now(UTC), acts)


def _due(ledger: Ledger, policy: Policy, now: datetime, acts: frozenset[Act]) -> list[Due]:
    return [one for one in due(catalogue.candidates(ledger), policy, now) if one.act in acts]


def asked(ledger: Ledger, job_id: UUID) -> list[Due]:
    """What is to be done so that a job is archived now, however young: nothing where it is.

    Raises:
        RequestError: it has not ended, or was purged, or something keeps it where it is.
    """
    found = free(ledger, job_id)
    if found.residence != Residence.HOT and found.cleared:
        return []
    return [Due(job_id, Act.ARCHIVE, Residence.WARM, found.size_bytes)]


def free(ledger: Ledger, job_id: UUID) -> Candidate:
    """A job with which something can be done.

    Raises:
        RequestError: it has not ended, or was purged, or something keeps it where it is.
    """
    found = next(catalogue.candidates(ledger, job_id), None)
    if found is None:
        raise RequestError(f"job {job_id} has not ended, or was purged: `tradu job {job_id}` shows it")
    if found.kept:
        raise RequestError(f"job {job_id} {found.kept}")
    return found


def plan(acts: frozenset[Act], job_id: str | None = None) -> list[list[int]]:
    """The groups that a run is mapped over, each as its number and how many there are: none where nothing is due.

    Raises:
        RequestError: as `asked`, where it is for one job.
    """
    found = asked(get_ledger("task"), UUID(job_id)) if job_id else due_now(acts)
    groups = min(MOST_GROUPS, len(found))
    return [[group, groups] for group in range(groups)]


def share(found: Iterable[Due], group: int, groups: int) -> list[Due]:
    """The jobs of one group. A job's group is in its id: it stays the same while others are done, in any process."""
    return [one for one in found if one.job_id.int % groups == group]


def run_now(acts: frozenset[Act], by: str, group: int = 0, groups: int = 1, job_id: str | None = None) -> Done:
    """`run_group` by the ledger and the policy of the settings; or one job is archived, which somebody has asked for.

    Raises:
        RequestError: as `asked`, where it is for one job.
        DamagedError: that job can't be archived.
    """
    ledger, policy = get_ledger("task"), load_policy(get_settings())
    if job_id is None:
        return run_group(ledger, policy, datetime.now(UTC), acts, by, group, groups)
    done = Done()
    for one in asked(ledger, UUID(job_id)):
        carry_out(one, policy, by, done)
    if done.jobs["left"]:
        raise DamagedError(f"job {job_id} stays where it is: `tradu incidents` says why")
    return done


def run_group(
    ledger: Ledger, policy: Policy, now: datetime, acts: frozenset[Act], by: str, group: int = 0, groups: int = 1
) -> Done:
    """Do what is due for the jobs of a group.

    Raises:
        As `carry_out_all`.
    """
    done = Done()
    for _ in carry_out_all(share(_due(ledger, policy, now, acts), group, groups), policy, by, done):
        pass
    return done


def carry_out_all(found: Iterable[Due], policy: Policy, by: str, done: Done, kind: str = "retention") -> Iterator[Due]:
    """Do what is to be done with each job, and yield it. One that can't be archived stays as it is, one with which
    something else goes wrong is left for another time, and the others go on.

    Raises:
        TransientError, SystemicError: what first went wrong: at the end, or where the last `MOST_FAILURES` went wrong.
    """
    first, failures = None, 0
    for one in found:
        try:
            carry_out(one, policy, by, done, kind)
        except (TransientError, SystemicError) as error:
            log.warning("%s %s: %s", one.act, one.job_id, error)
            first, failures = first or error, failures + 1
            if failures == MOST_FAILURES:
                break
        else:
            failures = 0
        yield one
    if first is not None:
        raise first


def carry_out(one: Due, policy: Policy, by: str, done: Done, kind: str = "retention") -> None:
    """Do what is to be done with one job; `kind` is what the certificate of a purge gives as its reason."""
    with held(one.job_id) as ours:
        lies = Residence(ours.job.residence)
        try:
            if (one.act is Act.COOL and lies is not Residence.WARM) or (
                one.act is Act.PURGE and kind == "retention" and lies is Residence.HOT
            ):
                raise RequestError(f"job {one.job_id} lies in {lies} since it was found to be due: it stays there")
            if one.act is Act.ARCHIVE:
                manifest = archive.archive(ours, one.tier, policy, by)
                done.freed_bytes += sum(m.size_bytes for m in manifest.members)
                done.taken_bytes += sum(f.size_bytes for f in manifest.files)
            elif one.act is Act.COOL:
                manifest = catalogue.entered_manifest(ours.ledger, ours.store, one.job_id)
                tiers.settle(ours.store, manifest, policy.storage_class(Residence.COLD))
                catalogue.cool(ours, Residence.COLD)
            else:
                purge.purge_job(ours, kind, by)
        except (DataError, RequestError) as error:
            log.warning("%s", error)
            done.jobs["left"] += 1
        else:
            done.jobs[one.act] += 1


def plan_restore(
    job_id: str | None = None, document_id: str | None = None, since: str | None = None, until: str | None = None
) -> list[list[str]]:
    """The archived jobs that fit, in at most 32 groups; days are ISO 8601, UTC.

    Raises:
        RequestError: nothing is asked, or no archived job fits.
    """
    first, last = (datetime.fromisoformat(day).replace(tzinfo=UTC) if day else None for day in (since, until))
    jobs = [
        str(job)
        for job in select.select(
            get_ledger("task"),
            job_id=UUID(job_id) if job_id else None,
            document_id=document_id,
            since=first,
            until=last,
        )
    ]
    return [jobs[group::MOST_GROUPS] for group in range(min(MOST_GROUPS, len(jobs)))]


def restore_job(job_id: UUID, policy: Policy) -> bool:
    """Bring a job back to hot; false where it is there.

    Raises:
        AsleepError: its archive was asked for, and can't be read yet.
        RequestError: the job was purged.
        DamagedError: its archive is not as it was written.
    """
    with held(job_id) as ours:
        return restore.restore(ours, policy)


def restore_jobs(jobs: Iterable[str]) -> int:
    """Bring jobs back to hot; how many were not there. A second time finds them there.

    Raises:
        As `restore_job`.
    """
    policy = load_policy(get_settings())
    return sum(restore_job(UUID(job), policy) for job in jobs)


def wake(jobs: Iterable[str]) -> list[str]:
    """Ask for archives that can't be read yet; which jobs they are of."""
    store, policy = Store(get_settings().store), load_policy(get_settings())
    return [job for job in jobs if tiers.wake(store, _packs(store, job), policy)]


def asleep(jobs: Iterable[str]) -> list[str]:
    """Which jobs have archives that can't be read yet."""
    store = Store(get_settings().store)
    return [job for job in jobs if tiers.asleep(store, _packs(store, job))]


def _packs(store: Store, job: str) -> list[str]:
    """The packs of a job that is not hot; none where there is no archive, which the restore then says."""
    try:
        return [file.key for file in catalogue.manifest_of(store, UUID(job)).files]
    except DataError:
        return []
