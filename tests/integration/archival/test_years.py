"""Month after month, as a clock that is handed in says: what is hot stays bounded, and nothing is lost."""

from __future__ import annotations

from fixtures.archive import Shelf
from fixtures.years import live
from tradu.archival.policy import load_policy
from tradu.ledger.partitions import MONTHS_AHEAD, Month
from tradu.settings import get_settings

MONTHS, JOBS, BLOCKS = 15, 1, 10
HOT_MONTHS = 4
"""Ninety days, and the month that is not over."""


def test_what_is_hot_is_bounded_over_the_months(shelf: Shelf) -> None:
    samples = live(shelf, load_policy(get_settings()), Month(2031, 1), MONTHS, JOBS, BLOCKS)
    assert max(s.hot_jobs for s in samples) <= HOT_MONTHS * JOBS
    assert max(s.rows for s in samples) <= HOT_MONTHS * JOBS * BLOCKS
    # the clock stands at the first moment of the month after
    assert max(s.months for s in samples) <= HOT_MONTHS + 1 + MONTHS_AHEAD
    last = samples[-1]
    assert last.cold_bytes > 0
    assert last.warm_bytes > 0
    with shelf.ledger.transaction() as tx:
        kept = tx.connection.execute("SELECT residence, count(*) FROM jobs GROUP BY 1").fetchall()
    assert sum(count for _, count in kept) == MONTHS * JOBS
    assert {residence for residence, _ in kept} == {"hot", "warm", "cold"}
