"""Which jobs may run and which wait: the policy (include/admission.yaml), and pure functions of what runs and waits."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tradu import policies
from tradu.errors import RequestError
from tradu.settings import Settings, get_settings

log = logging.getLogger(__name__)
NORMAL_PRIORITY = 5
MOST_PRIORITY = 10
ANYBODY = "*"
MOST_RUNS = 256
"""Runs of `tradu_translate` at once: each job that runs or waits has one. Airflow queues further ones in the order in
which they were asked for, whoever asked: weights and priorities begin behind that."""
USUAL_CHARACTERS = 100_000
"""Of a job that nobody has measured yet, where no other job says what is usual."""


class Tenant(BaseModel):
    """What a tenant may have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(1, gt=0)
    characters_per_minute: float | None = Field(None, gt=0)


class Pool(BaseModel):
    """What a pool of workers may do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    characters_per_minute: float | None = Field(None, gt=0)


class AdmissionPolicy(BaseModel):
    """When jobs wait, and for whom how much is done."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    high_characters: int = Field(gt=0)
    low_characters: int = Field(gt=0)
    most_running: int = Field(ge=1)
    most_deferred: int = Field(ge=1)
    ageing_minutes: float = Field(gt=0)
    shard_seconds: float = Field(60, gt=0)
    tenants: Mapping[str, Tenant]
    pools: Mapping[str, Pool] = {}

    @model_validator(mode="after")
    def _in_order(self) -> AdmissionPolicy:
        if self.low_characters > self.high_characters:
            raise ValueError("low_characters must not be more than high_characters")
        return self

    def tenant(self, name: str) -> Tenant:
        """What is said of a tenant, or of all that are not named."""
        return self.tenants.get(name) or self.tenants.get(ANYBODY) or Tenant()

    def claim_limits(self, tenant: str, pool: str) -> dict[str, float]:
        """Characters a minute that may be claimed for a tenant by the workers of a pool, by what is limited."""
        of_pool = self.pools.get(pool) or self.pools.get(ANYBODY) or Pool()
        limits = {
            f"tenant:{tenant}": self.tenant(tenant).characters_per_minute,
            f"pool:{pool}": of_pool.characters_per_minute,
        }
        return {name: limit for name, limit in limits.items() if limit is not None}

    def limits(self) -> dict[str, float]:
        """Limits of claims that are set for somebody by name, by the names of their buckets."""
        pairs = [(f"tenant:{name}", tenant.characters_per_minute) for name, tenant in self.tenants.items()]
        pairs += [(f"pool:{name}", pool.characters_per_minute) for name, pool in self.pools.items()]
        return {name: limit for name, limit in pairs if limit is not None and not name.endswith(f":{ANYBODY}")}


def doubts(policy: AdmissionPolicy, settings: Settings) -> list[str]:
    """What a policy says that can't come about, a line each."""
    there = {
        settings.pool,
        Settings.model_fields["pool"].default,
        *settings.tier_pools.values(),
        *settings.pool_workers,
    }
    said = [
        f"pool {name!r} has a limit of claims, but no workers that the settings know of: scaled ones are in the pool "
        f"'default', others in that of their TRADU_POOL"
        for name, pool in policy.pools.items()
        if pool.characters_per_minute is not None and name not in there | {ANYBODY}
    ]
    if policy.most_running + policy.most_deferred >= MOST_RUNS:
        said.append(
            f"most_running and most_deferred are {policy.most_running + policy.most_deferred:,} together, and Airflow "
            f"starts {MOST_RUNS} runs at once: one tenant's jobs can stand before everybody's. Keep them well below"
        )
    return said


def load_policy(settings: Settings) -> AdmissionPolicy:
    """The policy of the settings.

    Raises:
        RequestError: a file can't be read or used; the message names it and what is wrong.
    """
    return policies.load(AdmissionPolicy, "admission", settings)


def policy_of_running(settings: Settings) -> AdmissionPolicy:
    """The policy for jobs that run: as it is shipped where the home's file is wrong. A mistake in it ends no job."""
    try:
        return load_policy(settings)
    except RequestError as error:
        log.error("admission.yaml: it is as shipped until this is mended: %s", error)  # noqa: TRY400 - it says where
        return policies.load_shipped(AdmissionPolicy, "admission", settings)


def current_policy() -> AdmissionPolicy:
    """The policy of this process's settings: it is asked for at each claim. Read again when a file of it has changed;
    where that is wrong it stays as it was.

    Raises:
        RequestError: a file can't be read or used, and could not be from the start.
    """
    return _kept.get(get_settings())


_kept = policies.Kept(load_policy, "admission")


@dataclass(frozen=True, slots=True)
class Running:
    """A job that has been let in: how much of it is open, and how much it was."""

    tenant: str
    region: str
    open_characters: int
    measured: bool
    """Whether it is cut into blocks; before, its size is not known."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that waits."""

    job_id: UUID
    tenant: str
    region: str
    priority: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Pressure:
    """What runs and waits at a moment."""

    full: bool
    """Whether the high-water mark was reached, and since then not the low one."""
    running: Sequence[Running]
    waiting: Sequence[Waiting]
    served: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Characters lately let in for each tenant and region."""
    usual: float = USUAL_CHARACTERS
    """Characters of a job, as the last ones had them: what a job counts for until it is measured."""
    per_second: float = 0.0
    """Characters a second that the line finishes, of late."""

    @property
    def open_characters(self) -> float:
        """What is open, jobs that nobody has measured yet included."""
        return sum(r.open_characters if r.measured else self.usual for r in self.running)


@dataclass(frozen=True, slots=True)
class Turn:
    """Who is let in, and whether it's full now."""

    admitted: tuple[UUID, ...]
    full: bool
    why: str
    """Why the others wait; empty where nobody does."""


def is_full(pressure: Pressure, policy: AdmissionPolicy) -> bool:
    """Whether the line has all it can do: from the high-water mark on, until it's down at the low one."""
    opened = pressure.open_characters
    return opened > policy.low_characters if pressure.full else opened >= policy.high_characters


def take_turn(pressure: Pressure, policy: AdmissionPolicy) -> Turn:
    """Let in as many of those that wait as there is room for, the tenant first that had the least for its weight.

    Among a tenant's regions the one that had the least is first; within it the job of the highest priority, then the
    oldest. Priority grows with waiting, so that nothing starves: a job waits behind later ones of a priority `n` steps
    higher for at most `n * ageing_minutes`. What a tenant is let in counts by size, as virtual time in fair queueing
    (Demers, Keshav, Shenker: Analysis and simulation of a fair queueing algorithm, 1989).
    """
    full, opened = is_full(pressure, policy), pressure.open_characters
    room = policy.most_running - len(pressure.running)
    waiting = in_order(pressure, policy) if room > 0 and not full else []
    admitted: list[UUID] = []
    for job in waiting:
        if full or room <= 0:
            break
        admitted.append(job.job_id)
        room, opened = room - 1, opened + pressure.usual
        full = opened >= policy.high_characters
    return Turn(tuple(admitted), full, _why(full, opened, policy) if len(admitted) < len(pressure.waiting) else "")


def in_order(pressure: Pressure, policy: AdmissionPolicy) -> list[Waiting]:
    """Those that wait, in the order in which they would be let in from now on."""
    queues: dict[tuple[str, str], list[Waiting]] = {}
    for job in sorted(pressure.waiting, key=lambda j: (urgency(j.priority, j.created_at, policy), -j.job_id.int)):
        queues.setdefault((job.tenant, job.region), []).append(job)
    served, order = defaultdict(float, pressure.served), []
    of_tenant: defaultdict[str, float] = defaultdict(float)
    for (tenant, _), amount in served.items():
        of_tenant[tenant] += amount
    while queues:
        key = min(queues, key=lambda k: (of_tenant[k[0]] / policy.tenant(k[0]).weight, served[k], k))
        order.append(queues[key].pop())
        if not queues[key]:
            del queues[key]
        served[key] += pressure.usual
        of_tenant[key[0]] += pressure.usual
    return order


def urgency(priority: int, created_at: datetime, policy: AdmissionPolicy) -> float:
    """What is greater comes first, at admission and among the batches that wait for a worker: seconds.

    All jobs age alike, so that the order of two of them is the same at any time: the one of a priority `n` steps lower
    comes first when it was asked for more than `n * ageing_minutes` before the other.
    """
    return priority * policy.ageing_minutes * 60 - created_at.timestamp()


def _why(full: bool, opened: float, policy: AdmissionPolicy) -> str:
    if full:
        return f"{opened:,.0f} characters are open: jobs wait until no more than {policy.low_characters:,} are"
    return f"{policy.most_running} jobs run, which is the most that run at once"


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a tenant may ask for a job now."""

    may_submit: bool
    deferred: bool
    """Whether the job would have to wait."""
    retry_after_seconds: float | None
    """When to come again, where the answer is no."""
    reason: str


def may_submit(tenant: str, pressure: Pressure, policy: AdmissionPolicy) -> Answer:
    """May this tenant ask for a job now, and if not, when: what a REST application asks before it takes a request."""
    own = sum(1 for job in pressure.waiting if job.tenant == tenant)
    if own >= policy.most_deferred:
        reason = f"{own:,} jobs of tenant {tenant!r} wait, which is the most that may"
        return Answer(False, False, _seconds_until_one_is_let_in(tenant, pressure, policy), reason)
    if (full := is_full(pressure, policy)) or len(pressure.running) >= policy.most_running:
        return Answer(True, True, None, f"it will wait: {_why(full, pressure.open_characters, policy)}")
    if pressure.waiting:
        return Answer(True, True, None, "it will wait: others wait before it")
    return Answer(True, False, None, "it will run at once")


def _seconds_until_one_is_let_in(tenant: str, pressure: Pressure, policy: AdmissionPolicy) -> float:
    """When a job of the tenant will be let in, by what the line does of late and its share: 10 s to an hour."""
    weights = {name: policy.tenant(name).weight for name in {job.tenant for job in pressure.waiting}}
    share = weights.get(tenant, 1.0) / max(sum(weights.values()), 1e-9)
    surplus = max(0.0, pressure.open_characters - policy.low_characters) if pressure.full else 0.0
    wanted = surplus + pressure.usual / share
    return min(3600.0, max(10.0, wanted / pressure.per_second if pressure.per_second > 0 else 60.0))


def served_by(rows: Iterable[tuple[str, str, float | None]], usual: float) -> dict[tuple[str, str], float]:
    """Characters let in by tenant and region; a job that nobody has measured yet counts as a usual one."""
    served: dict[tuple[str, str], float] = {}
    for tenant, region, characters in rows:
        key = (tenant, region)
        served[key] = served.get(key, 0.0) + (usual if characters is None else characters)
    return served
