"""What lies in each tier, and what it costs: in the currency of the policy's prices."""

from __future__ import annotations

from dataclasses import dataclass

from tradu.archival.policy import Policy, Residence
from tradu.ledger.connection import Ledger

GB = 1e9


@dataclass(frozen=True, slots=True)
class TierReport:
    """One tier."""

    tier: str
    jobs: int
    bytes: int
    """In hot: objects, raw documents and the tables of the ledger; in other tiers the archives."""
    hot_bytes: int
    """What the same jobs take, or took, in hot."""
    cost_month: float
    cost_in_hot: float
    """What a month of them in hot would cost."""

    @property
    def saved(self) -> float:
        """What a month costs less than in hot."""
        return self.cost_in_hot - self.cost_month


def tiers(ledger: Ledger, policy: Policy) -> list[TierReport]:
    """Hot, warm and cold, with bytes and costs."""
    with ledger.transaction() as tx:
        found = {tier: rest for tier, *rest in tx.tuples("tiers")}
    made = []
    for tier in (Residence.HOT, Residence.WARM, Residence.COLD):
        jobs, size, hot = map(int, found.get(tier, (0, 0, 0)))
        cost, in_hot = (b / GB * policy.price(t) for b, t in ((size, tier), (hot, Residence.HOT)))
        made.append(TierReport(tier, jobs, size, hot, cost, in_hot))
    return made
