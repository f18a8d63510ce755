"""The watchdog of the pipeline: throughput against its own recent history, standstill, open circuits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from statistics import median
from uuid import UUID

from tradu.ledger.circuits import Circuit
from tradu.ledger.connection import Ledger
from tradu.ledger.incidents import IncidentKind, report
from tradu.ledger.rows import Minute
from tradu.ledger.states import JobState
from tradu.settings import Settings
from tradu.watchdog import database

log = logging.getLogger(__name__)
RECENT_MINUTES = 5
HISTORY_MINUTES = 240
LEAST_HISTORY = 15
"""Fewer busy minutes are no history to compare with."""
IDLE_SECONDS = 900.0
"""People are told of a running job on which nobody has worked for so long."""
LOST_SECONDS = 300.0
"""A job whose run is over, and on which nobody has worked for so long, is lost. The run's own callback is faster."""
RUNS_AT_ONCE = 50
SAY_AGAIN_SECONDS = 1_800.0
MOST_FEED_DECISIONS = 50_000
SLOW_SHARE = 0.25
"""Slow: less than this share of the median of busy minutes."""


def look(ledger: Ledger) -> dict[str, int]:
    """Write down what the last minute brought, and whether that is too little; counts."""
    with ledger.transaction() as tx:
        tx.run("close_minutes")
        tx.run("forget_circuits")
        minutes = tx.rows("throughput", Minute, limit=HISTORY_MINUTES)
        found = judge(minutes)
        if found:
            kind, said = found
            report(tx, kind, said, once_seconds=SAY_AGAIN_SECONDS)
        tx.run("forget_throughput")
        tx.run("forget_latencies")
        tx.run("forget_buckets")
        tx.run("forget_decisions")
        tx.run("forget_feed_decisions", most=MOST_FEED_DECISIONS)
        tx.run("forget_agents")
    return {"slow": int(found is not None)}


def end_lost(ledger: Ledger, living: Callable[[Sequence[str]], int]) -> list[UUID]:
    """End in ERROR the jobs whose DAG run is over or gone: each takes up a place, and nobody would end it.

    Not those whose run lives, however long they wait, and not those that somebody works on.

    Args:
        ledger: the ledger.
        living: how many of these runs Airflow has that have not ended.
    """
    with ledger.transaction() as tx:
        states = [JobState.DEFERRED, JobState.ADMITTED, JobState.RUNNING]
        idle = {run: job for job, run in tx.tuples("idle_jobs", seconds=LOST_SECONDS, states=states) if run}
    ended = []
    for run in _over(list(idle), living):
        job, reason = idle[run], f"its DAG run {run} is over or gone: `tradu resume` goes on with the job"
        with ledger.transaction() as tx:
            if tx.run("end_lost_job", job_id=job, run_id=run, reason=reason):
                log.warning("job %s ended: %s", job, reason)
                ended.append(job)
    return ended


def _over(runs: Sequence[str], living: Callable[[Sequence[str]], int]) -> list[str]:
    """Which of these runs have ended or are gone; where all of many live, that is one question."""
    chunks = [runs[start : start + RUNS_AT_ONCE] for start in range(0, len(runs), RUNS_AT_ONCE)]
    return [run for chunk in chunks if living(chunk) < len(chunk) for run in chunk if not living([run])]


def judge(minutes: Sequence[Minute]) -> tuple[IncidentKind, str] | None:
    """What is wrong with the throughput of the last minutes (the newest first); None: nothing.

    A minute is busy when work waited at its end. Only minutes that were busy throughout are compared: a line with
    nothing to do is not slow.
    """
    recent, before = minutes[:RECENT_MINUTES], minutes[RECENT_MINUTES:]
    if len(recent) < RECENT_MINUTES or not all(m.waiting for m in recent):
        return None
    done = sum(m.characters for m in recent)
    if done == 0:
        return IncidentKind.STANDSTILL, f"work waits, and no block was done in {RECENT_MINUTES} minutes"
    busy = [m.characters for m in before if m.waiting]
    if len(busy) < LEAST_HISTORY:
        return None
    usual, rate = median(busy), done / RECENT_MINUTES
    if rate >= SLOW_SHARE * usual:
        return None
    return IncidentKind.SLOW, f"{rate:,.0f} characters a minute, usually {usual:,.0f}"


def alerts(ledger: Ledger, settings: Settings) -> list[str]:
    """What a person must know now, a line each; the same thing again only after half an hour."""
    with ledger.transaction() as tx:
        found = judge(tx.rows("throughput", Minute, limit=HISTORY_MINUTES))
        said = {found[0].value: found[1]} if found else {}
        for c in tx.rows("open_circuits", Circuit):
            if c.openings > 1 or settings.circuit_failures == 1:
                said[c.name] = f"circuit {c.name} is open since {c.opened_at:%H:%M:%S} UTC: {c.cause}"
        said |= {kind.value: line for kind, line in database.judge(database.observe(tx))}
        for job_id, _ in tx.tuples("idle_jobs", seconds=IDLE_SECONDS, states=[JobState.RUNNING]):
            said[str(job_id)] = f"nobody works on job {job_id}: tradu resume {job_id}"
        return [
            line
            for name, line in said.items()
            if tx.tuples("take_upkeep", name=f"tell {name}", seconds=SAY_AGAIN_SECONDS)
        ]
