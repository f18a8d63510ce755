"""What climbing may still cost: the budgets of a job and of its tenant's day, by the meter in the ledger.

A budget governs consumption, not dispatch: the first rung is always done, since it is what the estimate stands for;
what would climb stays when the budget is spent or the meter can't be read. Batches in flight at the same time see the
same meter, so a budget may be overstepped by what they take.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from uuid import UUID

import psycopg

from tradu.errors import SystemicError
from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Batch
from tradu.settings import Settings

log = logging.getLogger(__name__)
EVERYBODY = "*"
"""Stands in TRADU_DAILY_BUDGETS for every tenant that is not named."""


def daily(budgets: Mapping[str, float], tenant: str) -> float | None:
    """What a tenant may spend in a day; None: as much as it likes."""
    return budgets.get(tenant, budgets.get(EVERYBODY))


def allowance(ledger: Ledger, job_id: UUID, task: Batch, settings: Settings) -> float:
    """CPU seconds that higher tiers may still take for a batch; infinite where nobody has set a budget."""
    of_day = daily(settings.daily_budgets, task.tenant)
    if (task.max_cost is None and of_day is None) or not settings.cpu_price_per_hour:
        return math.inf
    try:
        ((of_job, today),) = ledger.tuples("spent", job_id=job_id, tenant=task.tenant)
    except (SystemicError, psycopg.Error) as error:
        log.warning("the meter can't be read, nothing climbs: %s", error)
        return 0.0
    left = min(
        math.inf if task.max_cost is None else task.max_cost - of_job, math.inf if of_day is None else of_day - today
    )
    return max(0.0, left) / settings.cpu_price_per_hour * 3600
