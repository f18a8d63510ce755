"""What lies in each tier, and what it costs: in the currency of the policy's prices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from tradu.archival import catalogue
from tradu.archival.policy import Policy, Residence, load_policy
from tradu.ledger.connection import Ledger, get_ledger
from tradu.settings import get_settings

GB = 1e9


@dataclass(frozen=True, slots=True)
class TierReport:
    """One tier."""

    tier: str
    jobs: int
    kept: int
    """Of these, jobs that stay where they are, however old: `tradu archive list --kept` says why."""
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
        kept = Counter(job.residence for job in catalogue.kept(tx))
    made = []
    for tier in (Residence.HOT, Residence.WARM, Residence.COLD):
        jobs, size, hot = map(int, found.get(tier, (0, 0, 0)))
        cost, in_hot = (b / GB * policy.price(t) for b, t in ((size, tier), (hot, Residence.HOT)))
        made.append(TierReport(tier, jobs, kept[tier], size, hot, cost, in_hot))
    return made


def after_run(done: Sequence[Mapping[str, int]]) -> dict[str, object]:
    """What the groups of a run did together, what it saves in a month, and what lies in each tier afterwards."""
    policy = load_policy(get_settings())
    total = Counter[str]()
    for counts in done:
        total.update(counts)
    freed, taken = (total[name] / GB for name in ("freed_bytes", "taken_bytes"))
    saved = freed * policy.price(Residence.HOT) - taken * policy.price(Residence.WARM)
    return {
        "done": dict(total),
        "saved_a_month": saved,
        "tiers": [asdict(t) for t in tiers(get_ledger("task"), policy)],
    }
