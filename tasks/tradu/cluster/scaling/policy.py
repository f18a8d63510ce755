"""The policy of a pool: an entry of `scaling.yaml`, checked."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tradu import policies
from tradu.entries import checked, entries
from tradu.settings import Settings

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Workers = Annotated[int, Field(ge=0)] | Literal["host"]


class Policy(BaseModel):
    """Bounds, targets and limits of a pool; each field is explained in `include/scaling.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    floor: Workers = "host"
    ceiling: Workers = "host"
    cost_ceiling_per_hour: Positive | None = None
    price_per_hour: Positive = 0.04
    drain_seconds: Positive = 60
    oldest_seconds: Positive = 30
    busy: Share = 0.8
    block_seconds: Positive = 0.1
    step_up: Annotated[int, Field(ge=1)] = 4
    step_down: Annotated[int, Field(ge=1)] = 1
    cooldown_seconds: Positive = 60
    hysteresis: Annotated[float, Field(ge=0, lt=1)] = 0.2
    error_rate: Share = 0.05
    p95_seconds: Positive | None = None
    memory: Share = 0.9
    stale_seconds: Positive = 15

    @model_validator(mode="after")
    def _ordered(self) -> Policy:
        if isinstance(self.floor, int) and isinstance(self.ceiling, int) and self.floor > self.ceiling:
            raise ValueError(f"floor {self.floor} is above ceiling {self.ceiling}")
        return self

    def bounds(self, capacity: int) -> tuple[int, int, str]:
        """Fewest and most workers where the machines carry `capacity`, and what sets the most. The most wins."""
        tops = {"machines": capacity}
        if isinstance(self.ceiling, int):
            tops["ceiling"] = self.ceiling
        if self.cost_ceiling_per_hour is not None:
            # 0.3 / 0.1 is 2.9999999999999996
            tops["cost ceiling"] = math.floor(self.cost_ceiling_per_hour / self.price_per_hour + 1e-9)
        name = min(tops, key=tops.__getitem__)
        return min(capacity if self.floor == "host" else self.floor, tops[name]), tops[name], name


def load_policies(settings: Settings) -> dict[str, Policy]:
    """The policies of all pools, from `include/scaling.yaml` with the user's file merged over.

    Raises:
        RequestError: a file is missing or an entry is wrong; the message names file, pool and field.
    """
    return {name: checked(Policy, entry, where) for name, entry, where in entries(settings, "scaling", "pools")}


def current_policies(settings: Settings) -> dict[str, Policy]:
    """The policies of all pools, read again when a file has changed; where that is wrong they stay as they were.

    Raises:
        RequestError: a file is wrong, and was from the start.
    """
    return _kept.get(settings)


_kept = policies.Kept(load_policies, "scaling")
