"""What a load run has shown, from the rows of the ledger: latencies of jobs, and how long it took to scale up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import psycopg

from load.watcher import Worker
from tradu.ledger.pools import DecisionRow

_JOBS = """
SELECT idempotency_key, tenant, priority, state, coalesce(characters, 0)::float8,
       extract(epoch FROM created_at)::float8, extract(epoch FROM started_at)::float8,
       extract(epoch FROM finished_at)::float8,
       (SELECT extract(epoch FROM min(h.at))::float8 FROM history h
        WHERE h.job_id = j.job_id AND h.entity = 'block' AND h.to_state = 'VALIDATING')
FROM jobs j WHERE idempotency_key LIKE %s ORDER BY created_at
"""
_ARRIVALS = """
SELECT extract(epoch FROM date_trunc('second', h.at))::float8, count(*)
FROM jobs j JOIN history h USING (job_id) WHERE j.idempotency_key LIKE %s AND h.entity = 'block' AND h.from_state = ''
GROUP BY 1 ORDER BY 1
"""
_FIRST = """
SELECT split_part(actor, ':', 2)::int, to_state, extract(epoch FROM min(at))::float8 FROM history
WHERE entity = 'block' AND actor LIKE 'worker-%%' AND to_state IN ('CLAIMED', 'VALIDATING') GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class JobTimes:
    """A job's row, with the time of its first finished block. Unix times; None: not yet, or never."""

    key: str
    tenant: str
    priority: int
    state: str
    characters: float
    asked_at: float
    started_at: float | None
    finished_at: float | None
    first_block_at: float | None


@dataclass(frozen=True, slots=True)
class ScaleUp:
    """Seconds from the arrival of work to the first block of a worker that was started for it."""

    detect: float
    """From the arrival of the blocks that tipped it to the look of the controller that saw them."""
    decide: float
    """From that look to the row of the decision."""
    start: float
    """From the row to the worker's process: the agent's tick and the supervisor."""
    warm: float
    """From the process to its first claim: imports, joining the scheduler, loading the model ahead."""
    first_block: float
    """From the claim to the first finished block."""

    @property
    def total(self) -> float:
        """All of it."""
        return sum(getattr(self, each.name) for each in fields(self))


def jobs(dsn: str, prefix: str) -> list[JobTimes]:
    """Jobs whose keys begin like this, the oldest first."""
    with psycopg.connect(dsn) as connection:
        return [JobTimes(*row) for row in connection.execute(_JOBS, (f"{prefix}%",))]


def arrivals(dsn: str, prefix: str) -> list[tuple[float, int]]:
    """When blocks of these jobs came to wait, and how many: seconds of Unix time."""
    with psycopg.connect(dsn) as connection:
        return [(at, count) for at, count in connection.execute(_ARRIVALS, (f"{prefix}%",))]


def decisions(dsn: str, pool: str = "cpu") -> list[DecisionRow]:
    """Every decision about a pool, in order."""
    columns = ", ".join(each.name for each in fields(DecisionRow))
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            f"SELECT {columns} FROM scale_decisions WHERE pool = %s ORDER BY decision_id".encode(), (pool,)
        )
        return [DecisionRow(*row) for row in found]


def scale_ups(dsn: str, rows: Sequence[DecisionRow], workers: Sequence[Worker], prefix: str) -> list[ScaleUp]:
    """Each worker that was started by a decision, and did a block."""
    with psycopg.connect(dsn) as connection:
        firsts = {(pid, state): at for pid, state, at in connection.execute(_FIRST)}
        inserted = [
            at
            for (at,) in connection.execute(
                "SELECT DISTINCT extract(epoch FROM h.at)::float8 FROM jobs j JOIN history h USING (job_id) "
                "WHERE j.idempotency_key LIKE %s AND h.entity = 'block' AND h.from_state = '' ORDER BY 1",
                (f"{prefix}%",),
            )
        ]
    growths, found = [row for row in rows if row.wanted > row.before], list[ScaleUp]()
    for worker in sorted(workers, key=lambda w: w.started_at):
        claimed, finished = firsts.get((worker.pid, "CLAIMED")), firsts.get((worker.pid, "VALIDATING"))
        cause = next((row for row in reversed(growths) if row.at.timestamp() <= worker.started_at), None)
        if cause is None or claimed is None or finished is None:
            continue
        looked, written = float(cause.inputs["now"]), cause.at.timestamp()
        if (arrived := max((at for at in inserted if at <= looked), default=None)) is not None:
            found.append(
                ScaleUp(
                    looked - arrived,
                    written - looked,
                    worker.started_at - written,
                    claimed - worker.started_at,
                    finished - claimed,
                )
            )
    return found


def turns(rows: Sequence[DecisionRow]) -> list[float]:
    """Seconds between each change of direction and the change before it."""
    changes = [(row.at.timestamp(), row.wanted > row.before) for row in rows if row.wanted != row.before]
    return [at - before for (before, up), (at, now_up) in pairwise(changes) if up != now_up]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of them doesn't exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def trace(rows: Sequence[DecisionRow], came: Sequence[tuple[float, int]]) -> dict[str, Any]:
    """What is kept of a run to be played again: arrivals a second, and the decisions since the first of them."""
    begin = came[0][0]
    policy = rows[-1].inputs["policy"]
    return {
        "policy": policy,
        "arrivals": [[round(at - begin), count] for at, count in came],
        "decisions": [
            {
                "seconds": round(float(row.inputs["now"]) - begin, 3),
                "signals": row.inputs["signals"],
                "state": row.inputs["state"],
                "now": row.inputs["now"],
                "wanted": row.wanted,
                "rule": row.rule,
                "reason": row.reason,
            }
            for row in rows
            if row.inputs["policy"] == policy and float(row.inputs["now"]) >= begin
        ],
    }
