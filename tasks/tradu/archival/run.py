"""A run of the archive: what is due by the policy, in groups, each of which may be done again at any time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from tradu.archival import archive, catalogue, purge, restore, tiers
from tradu.archival.context import held
from tradu.archival.policy import MOST_GROUPS, Act, Due, Policy, Residence, due
from tradu.errors import DataError, RequestError
from tradu.ledger.connection import Ledger

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Done:
    """What a run, or a group of it, did."""

    jobs: Counter[str] = field(default_factory=Counter)
    """Jobs by what was done with them; `left`: those that could not be archived, each with an incident."""
    freed_bytes: int = 0
    """No longer in hot."""
    taken_bytes: int = 0
    """What the archives made take."""

    def counts(self) -> dict[str, int]:
        """As it goes through XCom: counts."""
        return {**self.jobs, "freed_bytes": self.freed_bytes, "taken_bytes": self.taken_bytes}


def plan(ledger: Ledger, policy: Policy, now: datetime, acts: frozenset[Act]) -> list[int]:
    """The groups that a run is mapped over: none where nothing is due, at most 32."""
    count = sum(1 for _ in _due(ledger, policy, now, acts))
    return list(range(min(MOST_GROUPS, count)))


def share(found: list[Due], group: int, groups: int) -> list[Due]:
    """The jobs of one group. A job's group is in its id: it stays the same while others are done, in any process."""
    return [one for one in found if one.job_id.int % groups == group]


def run_group(
    ledger: Ledger,
    policy: Policy,
    now: datetime,
    acts: frozenset[Act],
    by: str,
    group: int = 0,
    groups: int = 1,
    seen: Callable[[Due], None] = lambda _due: None,
) -> Done:
    """Do what is due for the jobs of a group. One that can't be archived stays as it is, and the others go on."""
    done = Done()
    for one in share(list(_due(ledger, policy, now, acts)), group, groups):
        carry_out(one, policy, by, done)
        seen(one)
    return done


def _due(ledger: Ledger, policy: Policy, now: datetime, acts: frozenset[Act]) -> Iterator[Due]:
    return (one for one in due(catalogue.candidates(ledger), policy, now) if one.act in acts)


def carry_out(one: Due, policy: Policy, by: str, done: Done, kind: str = "retention") -> None:
    """Do what is due for one job; `kind` is what the certificate of a purge gives as its reason."""
    with held(one.job_id) as ours:
        try:
            if one.act is Act.ARCHIVE:
                manifest = archive.archive(ours, one.tier, policy, by)
                done.freed_bytes += sum(m.size_bytes for m in manifest.members)
                done.taken_bytes += sum(f.size_bytes for f in manifest.files)
            elif one.act is Act.COOL:
                manifest = catalogue.manifest_of(ours.store, one.job_id)
                tiers.settle(ours.store, manifest, policy.storage_class(Residence.COLD))
                catalogue.cool(ours, Residence.COLD)
            else:
                purge.purge_job(ours, kind, by)
        except (DataError, RequestError) as error:
            log.warning("%s", error)
            done.jobs["left"] += 1
        else:
            done.jobs[one.act] += 1


def restore_job(job_id: UUID, policy: Policy) -> bool:
    """Bring a job back to hot; false where it is there.

    Raises:
        AsleepError: its archive was asked for, and can't be read yet.
        RequestError: the job was purged.
        DamagedError: its archive is not as it was written.
    """
    with held(job_id) as ours:
        return restore.restore(ours, policy)
