"""When the ledger's own health needs a person."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tradu.ledger.incidents import IncidentKind
from tradu.watchdog.database import Health, OldestTransaction, WorstTable, judge

WELL = WorstTable("blocks_2026_11", 1_000, 9_000, None, 1_200)
AT = datetime(2026, 11, 1, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("oldest", "worst", "kinds"),
    [
        (None, None, []),
        (OldestTransaction("worker", 7, 4.0, 0.0), WELL, []),
        (OldestTransaction("worker", 7, 899.0, 0.0), WELL, []),
        (OldestTransaction("pg_dump", 7, 901.0, 0.0), WELL, [IncidentKind.LEDGER_HELD]),
        (OldestTransaction("psql", 7, 130.0, 121.0), WELL, [IncidentKind.LEDGER_HELD]),
        (None, WorstTable("blocks_2026_11", 500_000, 499_999, AT, 500_000), [IncidentKind.LEDGER_BLOATED]),
        (None, WorstTable("blocks_2026_11", 500_000, 500_000, AT, 500_000), []),
        (None, WorstTable("blocks_2026_11", 499_999, 0, None, 499_999), []),
    ],
)
def test_only_what_lasts_or_is_large_is_told(
    oldest: OldestTransaction | None, worst: WorstTable | None, kinds: list[IncidentKind]
) -> None:
    assert [kind for kind, _ in judge(Health(oldest, worst))] == kinds


def test_what_is_told_says_who_and_what_to_do() -> None:
    health = Health(
        OldestTransaction("psql", 77, 1_000.0, 130.0), WorstTable("blocks_2026_11", 900_000, 100, AT, 900_001)
    )
    (_, held), (_, bloated) = judge(health)
    assert "psql (pid 77)" in held
    assert "pg_terminate_backend(77)" in held
    assert "idle for 130 s" in held
    assert "blocks_2026_11 has 900,000 dead rows" in bloated
    assert "2026-11-01 03:04 UTC" in bloated
