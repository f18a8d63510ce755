"""What was decided about pools and shards, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tradu.cli.output import Output

if TYPE_CHECKING:
    from tradu.ledger.pools import DecisionRow, FeedDecision
    from tradu.ledger.rows import Job


def show_pool(name: str, rows: Sequence[DecisionRow], output: Output) -> None:
    """Print decisions about how many workers a pool has, and the signals that the newest one rests on."""
    if not rows:
        output.warn(f"Nothing was decided about pool {name} yet.")
        return
    table = ((f"{r.at:%Y-%m-%d %H:%M:%S}", f"{r.before} -> {r.wanted}", r.rule, r.reason) for r in rows)
    output.table(("at (UTC)", "workers", "rule", "why"), table)
    output.table(("signal", ">value"), _signals(rows[0].inputs), title="\nThe newest one rests on")


def _signals(inputs: dict[str, Any]) -> list[tuple[str, object]]:
    signals = dict(inputs["signals"])
    ages, tiers = signals.pop("ages"), signals.pop("latency")
    rows = [(name.replace("_", " "), value) for name, value in signals.items()]
    for tier in tiers:
        rows.append(
            (f"{tier['tier']}: seconds a block, p50 and p95", f"{tier['p50_seconds']:.3g}, {tier['p95_seconds']:.3g}")
        )
    return rows + [(f"{source} heard, seconds ago", float(age)) for source, age in ages.items()]


def said_of(job: Job) -> str:
    """How many shards a job has, and why; empty: they are not planned."""
    found = job.sharding
    return f"{found['shards']} shards ({found['rule']}): {found['reason']}" if found else ""


def show_shards(job: Job | None, rows: Sequence[FeedDecision], output: Output) -> None:
    """Print how many shards a job has, and decisions about how many batches of shards are at the cluster."""
    if job and (said := said_of(job)):
        output.say(said)
    if rows:
        table = (
            (f"{r.at:%Y-%m-%d %H:%M:%S}", str(r.job_id), r.shard, f"{r.before} -> {r.most}", r.rule, r.reason)
            for r in rows
        )
        output.table(("at (UTC)", "job", ">shard", "batches at the cluster", "rule", "why"), table, title="\nShards")
    elif job:
        output.say("As many of its batches were at the cluster all the time as there may be, of late.")
