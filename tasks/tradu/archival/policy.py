"""The retention policy (include/retention.yaml), and what is due by it: pure functions of jobs, policy and time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tradu import policies
from tradu.ledger.states import JOB_ENDED
from tradu.settings import Settings

MOST_GROUPS = 32
"""Groups of a run: each is a mapped task of Airflow."""


class Residence(StrEnum):
    """Where the bytes of a job lie."""

    HOT = "hot"
    WARM = "warm"
    COLD = "cold"
    PURGED = "purged"


class Hot(BaseModel):
    """The tier in which the line works."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    price_per_gb_month: float = Field(ge=0)


class Tier(Hot):
    """A tier of archives."""

    after_days: float = Field(gt=0)
    storage_class: str | None = None


class Tiers(BaseModel):
    """Every tier, by its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hot: Hot
    warm: Tier
    cold: Tier

    @model_validator(mode="after")
    def _in_order(self) -> Tiers:
        if self.cold.after_days < self.warm.after_days:
            raise ValueError("cold: after_days must not be less than that of warm")
        return self


class Policy(BaseModel):
    """How long what lies where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tiers: Tiers
    purge_after_days: float | None = Field(None, gt=0)
    thaw_days: int = Field(7, ge=1)
    thaw_speed: Literal["Bulk", "Standard", "Expedited"] = "Bulk"
    scrub_objects: int = Field(50, ge=1)

    def price(self, residence: str) -> float:
        """What a GB costs there in a month; nothing where nothing lies."""
        tiers: dict[str, Hot] = {"hot": self.tiers.hot, "warm": self.tiers.warm, "cold": self.tiers.cold}
        return tiers[residence].price_per_gb_month if residence in tiers else 0.0

    def storage_class(self, residence: str) -> str | None:
        """The storage class of archives of a tier; None: none is set."""
        return {"warm": self.tiers.warm, "cold": self.tiers.cold}[residence].storage_class


def load_policy(settings: Settings) -> Policy:
    """The shipped policy with what the home's own file changes of it.

    Raises:
        RequestError: a file can't be read or used; the message names it and what is wrong.
    """
    return policies.load(Policy, "retention", settings)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job as the policy sees it."""

    job_id: UUID
    state: str
    residence: str
    legal_hold: bool
    ended_at: datetime | None
    """When it ended, or was last restored: its age counts from then."""
    size_bytes: int
    cleared: bool = True
    """Whether nothing of an archived job lies in hot any more, nor anything of a purged one anywhere."""
    rollout: int | None = None
    """A rollout that has blocks of it and is not decided."""

    @property
    def kept(self) -> str | None:
        """Why it stays where it is, however old."""
        return why_kept(self.job_id, self.legal_hold, self.rollout)


def why_kept(job_id: UUID, legal_hold: bool, rollout: int | None) -> str | None:
    """Why a job stays where it is, as the end of a sentence about it; None: nothing keeps it."""
    if legal_hold:
        return f"is under legal hold: `tradu archive release {job_id}` ends it"
    if rollout is not None:
        return f"is part of rollout {rollout}, which is not decided: `tradu rollout status {rollout}`"
    return None


class Act(StrEnum):
    """What is due for a job."""

    ARCHIVE = "archive"
    """Pack it, and clear it away from hot."""
    COOL = "cool"
    """Its archive goes to the cold tier."""
    PURGE = "purge"
    """Its archive is removed for ever."""


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done with a job."""

    job_id: UUID
    act: Act
    tier: Residence
    """Where it lies afterwards."""
    size_bytes: int


def due(jobs: Iterable[Candidate], policy: Policy, now: datetime) -> list[Due]:
    """What is due. Nothing ever is for a job that is open, under legal hold, part of a rollout that is not decided, or
    younger than the policy's first age; what a killed run has left half cleared away is always due."""
    return [found for job in jobs if (found := _due(job, policy, now)) is not None]


def _due(job: Candidate, policy: Policy, now: datetime) -> Due | None:
    if not job.cleared:  # a run that was killed had begun with it: it is finished, whatever has changed since
        begun = Act.PURGE if job.residence == Residence.PURGED else Act.ARCHIVE
        return Due(job.job_id, begun, Residence(job.residence), job.size_bytes)
    if job.kept or job.state not in JOB_ENDED or job.ended_at is None:
        return None

    def older(days: float | None) -> bool:
        return days is not None and now - job.ended_at >= timedelta(days=days)  # type: ignore[operator]

    def act(kind: Act, tier: Residence) -> Due:
        return Due(job.job_id, kind, tier, job.size_bytes)

    if job.residence in (Residence.WARM, Residence.COLD) and older(policy.purge_after_days):
        return act(Act.PURGE, Residence.PURGED)
    if job.residence == Residence.HOT and older(policy.tiers.warm.after_days):
        return act(Act.ARCHIVE, Residence.COLD if older(policy.tiers.cold.after_days) else Residence.WARM)
    if job.residence == Residence.WARM and older(policy.tiers.cold.after_days):
        return act(Act.COOL, Residence.COLD)
    return None
