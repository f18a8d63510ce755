"""The cascade on the real line: what scores low climbs, history and spending say so, and budgets end it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest
from psycopg_pool import ConnectionPool

from fixtures.line import Line
from tradu import line
from tradu.cli import report
from tradu.cli.output import Output
from tradu.cluster import batch, budget, segments
from tradu.errors import ModelError, RequestError
from tradu.inference.pool import EnginePool
from tradu.inference.routes import cost_of
from tradu.ledger import jobs
from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Batch, Claim, HistoryRow, Spending
from tradu.settings import get_settings

BELOW = 0.93
PROFILES = f"""
profiles:
  strict:
    description: Nearly everything climbs.
    tiers: [standard, premium]
    climb_below: {BELOW}
"""
TEXT = [
    "The harbour was closed all winter.",
    "An assert statement is emitted by the code generator when no optimization is requested at compile time.",
    "Good morning.",
    "The name is bound to the object in the outer namespace determined by nonlocal.",
]


@pytest.fixture
def strict(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> Line:
    """A line with a profile of the user's own; the worker's code runs in this process."""
    (the_line.folder / "profiles.yaml").write_text(PROFILES)
    monkeypatch.setattr(segments, "_engines", EnginePool())
    the_line.put({"text.txt": "\n\n".join(TEXT)})
    return the_line


def infer(the_line: Line, job: str) -> None:
    the_line.prepare(job)
    for number in sorted({b.batch for b in the_line.blocks(job) if b.batch is not None}):
        batch.run_batch(job, number)


def spending(the_line: Line, job: str) -> dict[str, Spending]:
    with the_line.ledger.transaction() as tx:
        return {row.tier: row for row in tx.rows("spending", Spending, job_id=UUID(job))}


def lowest_cost(job_characters: int) -> float:
    lowest = segments.registry().plan("en", "pt", "strict").rungs[0]
    return job_characters / 1e6 * cost_of(lowest) * get_settings().cpu_price_per_hour / 3600


def test_what_scores_low_climbs_and_the_history_says_so(strict: Line, capsys: pytest.CaptureFixture[str]) -> None:
    job = strict.admit(source="en", profile="strict")
    infer(strict, job)
    spent = spending(strict, job)
    assert spent["standard"].texts == len(TEXT)
    assert 0 < spent["premium"].climbed == spent["premium"].texts < len(TEXT)
    assert 0 < spent["premium"].characters < spent["standard"].characters
    with strict.ledger.transaction() as tx:
        ids = [str(b.block_id) for b in strict.blocks(job)]
        steps = tx.rows("history_of", HistoryRow, job_id=UUID(job), entity_ids=ids)
    climbs = [s for s in steps if (s.from_state, s.to_state) == ("VALIDATING", "PROCESSING")]
    assert [s.reason for s in climbs] == [
        f"{spent['premium'].climbed} of {len(TEXT)} segments scored under {BELOW} and climbed to premium"
    ]
    assert {s.attempt for s in steps if s.to_state == "VALIDATING"} == {1}, "it spends no retry budget"
    assert strict.deliver(job) == "COMPLETED"
    assert strict.output(job, "text.txt").count(b"\n\n") == len(TEXT) - 1
    assert line.publish(job).tiers["premium"]["climbed"] == spent["premium"].climbed
    report.show(report.load(strict.ledger, strict.job(job)), Output(), strict.store.uri)
    assert "climbed to it" in capsys.readouterr().out


def test_the_same_text_is_known_with_what_it_climbed_to(strict: Line) -> None:
    first = strict.admit("one", source="en", profile="strict")
    infer(strict, first)
    strict.deliver(first)
    second = strict.admit("two", source="en", profile="strict")
    infer(strict, second)
    assert spending(strict, second) == {}
    assert strict.deliver(second) == "COMPLETED"
    assert strict.output(second, "text.txt") == strict.output(first, "text.txt")


def test_a_spent_budget_ends_climbing_and_says_so(strict: Line) -> None:
    least = lowest_cost(sum(map(len, TEXT)))
    job = strict.admit(source="en", profile="strict", max_cost=least * 1.01)
    infer(strict, job)
    spent = spending(strict, job)
    assert spent.keys() == {"standard"}
    assert spent["standard"].stayed > 0
    assert [b.reason for b in strict.blocks(job)] == [
        f"{spent['standard'].stayed} of {len(TEXT)} segments scored low and did not climb: the budget is spent"
    ]
    assert strict.deliver(job) == "COMPLETED"
    again = strict.admit("more", source="en", profile="strict")
    infer(strict, again)
    assert spending(strict, again)["premium"].climbed == spent["standard"].stayed, "what stayed is not kept for later"


def test_a_tenants_day_is_a_budget_too(strict: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_DAILY_BUDGETS", '{"poor": 0, "*": 1000}')
    poor = strict.admit("a", source="en", profile="strict", tenant="poor")
    infer(strict, poor)
    assert spending(strict, poor)["standard"].stayed > 0
    rich = strict.admit("b", source="en", profile="strict", tenant="rich")
    infer(strict, rich)
    assert spending(strict, rich)["premium"].climbed > 0


def test_a_budget_below_the_lowest_tier_is_refused_before_anything_is_spent(strict: Line) -> None:
    job = strict.admit(source="en", profile="strict", max_cost=lowest_cost(sum(map(len, TEXT))) / 2)
    with pytest.raises(RequestError, match="lowest tier alone"):
        strict.prepare(job)
    with pytest.raises(RequestError, match="max_cost"):
        jobs.JobRequest(["x"], ["pt"], "k", max_cost=-1).check()


def test_what_a_failed_attempt_took_is_on_its_own_jobs_account(strict: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def translate(self, texts: Sequence[str]) -> list[str]:
            raise ModelError("the engine died")

        def close(self) -> None:
            pass

    with monkeypatch.context() as broken:
        broken.setattr("tradu.inference.pool._load", lambda model: Broken())
        failed = strict.admit("failed", source="en", profile="strict")
        infer(strict, failed)
    tried = spending(strict, failed)["standard"].texts
    assert tried > 0
    again = strict.admit("again", source="en", profile="strict")
    infer(strict, again)
    assert spending(strict, again)["standard"].texts == len(TEXT)
    assert spending(strict, failed)["standard"].texts == tried


def test_two_attempts_at_the_same_blocks_don_t_wait_for_each_other(strict: Line) -> None:
    job = UUID(strict.admit(source="en", profile="strict"))
    strict.prepare(str(job))
    (block,) = strict.blocks(str(job))
    with strict.ledger.transaction() as tx:
        (claim,) = tx.rows("claim", Claim, job_id=job, batch=block.batch, again=False, lease_seconds=60, max_attempts=3)
    asked = {"job_id": job, "block_ids": [claim.block_id], "tokens": [claim.token], "reasons": [""]}
    times = {"processing_at": datetime.now(UTC), "climbed_at": datetime.now(UTC)}
    with strict.ledger.transaction() as mine, strict.ledger.transaction() as other:
        assert mine.run("judge_first", **asked, **times) == 0, "what does not climb is not moved"
        waits = "SELECT 1 FROM blocks WHERE job_id = %s FOR UPDATE SKIP LOCKED"
        assert other.connection.execute(waits, (job,)).fetchall() == [], "but locked with the others, in their order"


def test_a_meter_that_can_not_be_read_lets_nothing_climb(strict: Line) -> None:
    away = Ledger(
        "", "test", ConnectionPool("postgresql://127.0.0.1:1/none", open=False, timeout=0.2, min_size=0, max_size=1)
    )
    task = Batch(0, "en", "pt", "", 0, 0, 0, "strict", "", max_cost=1.0)
    assert budget.allowance(away, UUID(int=1), task, get_settings()) == 0
    away.close()
