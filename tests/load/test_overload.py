"""Ten times the load that a stack can carry, for minutes: nothing fails, and people get what they were promised.

First it is measured what the stack can carry (`make load`). Then as many requests come as ten such stacks would need,
open-loop, through Airflow's REST API: half of them of tenant `gold`, which has three times the weight of `basic`, half
of each tenant's of high priority. Most clients come through an application that asks first whether they may
(`tradu.admission.may_submit`); some don't. TRADU_LOAD_SECONDS is the length (300), TRADU_LOAD_TIMES the overload (10).
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from statistics import median
from uuid import uuid4

import pytest

from benchmarks.test_storage import keep
from fixtures.stack import Stack, running, until
from load import measures
from load.clients import Request, Sent, send, texts
from load.measures import JobTimes
from load.watcher import Watch, watching
from tradu.admission import AdmissionPolicy, Waiting, load_policy, may_submit
from tradu.cli.watch import DAG
from tradu.ledger import turns

pytestmark = [pytest.mark.stack, pytest.mark.apertium, pytest.mark.timeout(3_600)]
SECONDS = float(os.environ.get("TRADU_LOAD_SECONDS", "300"))
TIMES = float(os.environ.get("TRADU_LOAD_TIMES", "10"))
BEFORE = int(os.environ.get("TRADU_LOAD_BEFORE", "12"))
"""Jobs by which it is measured what the stack can carry."""
CHARACTERS = 20_000
TENANTS = {"gold": 3.0, "basic": 1.0}
LOW, HIGH = 2, 8
RUSH = 13
"""One in so many clients doesn't ask first."""
ADMISSION = """
most_running: 6
most_deferred: 8
high_characters: 100000
low_characters: 60000
ageing_minutes: 0.2
tenants:
  "*": {weight: 1}
  gold: {weight: 3}
"""
FORGOTTEN_SECONDS = 90.0
"""A request that the ledger hasn't seen after so long was refused by its run."""
REFUSED = "which is the most that may"


def test_ten_times_what_it_can_carry(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> None:
    with running(tmp_path_factory.mktemp("overload"), request.session) as stack:
        (stack.settings.home / "admission.yaml").write_text(ADMISSION)
        _run(stack)


def _run(stack: Stack) -> None:
    policy, dsn = load_policy(stack.settings), stack.line.ledger.dsn
    with watching(stack) as watch:
        rate = _sustainable(stack, dsn)
        plan = _plan(stack, rate * TIMES)
        started = time.time()
        sent = send(stack, plan, started, _App(stack, policy))
        over = time.time()
        until("all runs to end", lambda: not _open_runs(stack), 60 + 4 * SECONDS)
        ended = time.time()
    jobs = measures.jobs(dsn, "over-")
    fates = _fates(stack, sent)
    both = max((s.at for s in watch.samples if all(s.deferred.get(t) for t in TENANTS)), default=started)
    let_in = Counter[str]()
    for job in jobs:
        if job.started_at is not None and job.started_at <= both:
            let_in[job.tenant] += int(job.characters)
    shares = {tenant: let_in[tenant] / max(1, sum(let_in.values())) for tenant in TENANTS}
    waits = {(t, p): _waits(jobs, t, p) for t in TENANTS for p in (LOW, HIGH)}
    _say(rate, sent, fates, jobs, watch, shares, waits, (started, over, ended, both))
    keep(
        "overload",
        {
            "rate": rate,
            "times": (started, over, ended, both),
            "samples": [asdict(s) for s in watch.samples if s.at >= started],
            "sent": [[s.due_at, bool(s.run_id), s.request.tenant, s.request.priority] for s in sent],
            "jobs": [asdict(job) for job in jobs],
        },
    )
    _nothing_failed(stack, jobs, fates)
    _bounded(watch, policy, started)
    _fair(shares, waits, jobs, over)


def _sustainable(stack: Stack, dsn: str) -> float:
    """Jobs a second that the stack finishes while others wait: from the end of the first third on."""
    first, *others = _requests(stack, "before", BEFORE + 1, lambda n: n / BEFORE, lambda _: ("calibration", 5))
    for some in ([first], others):  # the first one tells admission how large a usual job is
        for one in send(stack, some, time.time()):
            assert stack.ended(one.run_id, seconds=600) == "success"
    ends = sorted(job.finished_at for job in measures.jobs(dsn, "before-") if job.finished_at)[1:]
    third = len(ends) // 3
    return (len(ends) - 1 - third) / (ends[-1] - ends[third])


def _plan(stack: Stack, rate: float) -> list[Request]:
    count = int(SECONDS * rate)

    def who(n: int) -> tuple[str, int]:
        return list(TENANTS)[n % 2], (LOW, HIGH)[n // 2 % 2]

    return _requests(stack, "over", count, lambda n: n / rate, who)


def _requests(
    stack: Stack, name: str, count: int, after: Callable[[int], float], who: Callable[[int], tuple[str, int]]
) -> list[Request]:
    made = texts(CHARACTERS, first=0 if name == "before" else 1_000_000)
    files = {f"{name}-{n}.txt": next(made) for n in range(count)}
    folder = stack.put(files, "documents")
    found = []
    for n in range(count):
        tenant, priority = who(n)
        found.append(Request(f"{name}-{n}", after(n), str(folder / f"{name}-{n}.txt"), tenant, priority))
    return found


class _App:
    """An application in front of the line: it knows what it has let through and the ledger hasn't seen yet."""

    def __init__(self, stack: Stack, policy: AdmissionPolicy) -> None:
        self._ledger, self._policy, self._lock = stack.line.ledger, policy, threading.Lock()
        self._on_the_way: dict[str, tuple[float, Waiting]] = {}

    def __call__(self, request: Request) -> str:
        """Why a request is refused; empty: it isn't, or its client doesn't ask."""
        if int(request.key.split("-")[1]) % RUSH == 0:
            return ""
        with self._lock, self._ledger.transaction() as tx:
            arrived = {key for (key,) in tx.connection.execute("SELECT idempotency_key FROM jobs")}
            self._on_the_way = {
                key: (at, waiting)
                for key, (at, waiting) in self._on_the_way.items()
                if key not in arrived and at > time.time() - FORGOTTEN_SECONDS
            }
            pressure = turns.look(tx)
            waiting = [*pressure.waiting, *(w for _, w in self._on_the_way.values())]
            answer = may_submit(request.tenant, replace(pressure, waiting=waiting), self._policy)
            if answer.may_submit:
                now = datetime.now(UTC)
                own = Waiting(uuid4(), request.tenant, "default", request.priority, now)
                self._on_the_way[request.key] = time.time(), own
                return ""
        assert answer.retry_after_seconds is not None
        return f"{answer.reason}: ask again in {answer.retry_after_seconds:.0f} s"


def _open_runs(stack: Stack) -> int:
    where = {"state": ["queued", "running"], "limit": 1}
    return int(stack.api.call("GET", f"/dags/{DAG}/dagRuns", params=where)["total_entries"])


def _fates(stack: Stack, sent: Sequence[Sent]) -> dict[str, str]:
    """How each request ended, by its key: done, refused at the door, refused late by its run, or what went wrong."""
    found = {}
    for one in sent:
        if not one.run_id:
            found[one.request.key] = "refused" if REFUSED in one.refused else one.refused
            continue
        run = stack.api.run(DAG, one.run_id)
        found[one.request.key] = "done" if run.state == "success" else _why(stack, one.run_id)
    return found


def _why(stack: Stack, run_id: str) -> str:
    failed = [t for t in stack.api.task_instances(DAG, run_id) if t.state == "failed"]
    said = stack.api.last_error(DAG, run_id, failed[0]) if failed else None
    return "refused late" if failed and failed[0].task_id == "admit" and said and REFUSED in said else f"failed: {said}"


def _waits(jobs: Sequence[JobTimes], tenant: str, priority: int) -> list[float]:
    """Seconds between asking and being let in."""
    return [
        job.started_at - job.asked_at
        for job in jobs
        if (job.tenant, job.priority) == (tenant, priority) and job.started_at is not None
    ]


def _nothing_failed(stack: Stack, jobs: Sequence[JobTimes], fates: dict[str, str]) -> None:
    assert set(fates.values()) <= {"done", "refused", "refused late"}
    assert {job.state for job in jobs} == {"COMPLETED"}, "all that was taken in is done"
    assert {job.key for job in jobs} == {key for key, fate in fates.items() if fate == "done"}
    with stack.line.ledger.transaction() as tx:
        states = tx.connection.execute("SELECT state, count(*) FROM blocks GROUP BY 1").fetchall()
    assert {state for state, _ in states} == {"COMPLETED"}


def _bounded(watch: Watch, policy: AdmissionPolicy, started: float) -> None:
    seen = [s for s in watch.samples if s.at >= started]
    assert max(n for s in seen for n in s.deferred.values()) <= policy.most_deferred
    assert max(s.running_jobs for s in seen) <= policy.most_running
    assert max(s.open_characters for s in seen) < policy.high_characters + 2 * CHARACTERS


def _fair(
    shares: dict[str, float], waits: dict[tuple[str, int], list[float]], jobs: Sequence[JobTimes], over: float
) -> None:
    whole = sum(TENANTS.values())
    for tenant, weight in TENANTS.items():
        assert shares[tenant] == pytest.approx(weight / whole, rel=0.1)
        assert median(waits[tenant, HIGH]) < median(waits[tenant, LOW])
    assert any(job.priority == LOW and job.started_at and job.started_at < over for job in jobs), "low isn't starved"


def _say(
    rate: float, sent: Sequence[Sent], fates: dict[str, str], jobs: Sequence[JobTimes], watch: Watch,
    shares: dict[str, float], waits: dict[tuple[str, int], list[float]], times: tuple[float, float, float, float],
) -> None:  # fmt: skip
    started, over, ended, both = times
    seen = [s for s in watch.samples if s.at >= started]
    print(f"\nit carries {rate:.3f} jobs/s; {len(sent)} requests in {over - started:.0f} s: {Counter(fates.values())}")
    print(f"senders were late by {max(s.sent_at - s.due_at for s in sent):.1f} s at most")
    print(f"all was done {ended - over:.0f} s after the last request")
    print(
        f"most jobs that waited: {max((sum(s.deferred.values()) for s in seen), default=0)}, that ran: "
        f"{max(s.running_jobs for s in seen)}, characters open: {max(s.open_characters for s in seen):,}"
    )
    said = ", ".join(f"{tenant} {share:.1%}" for tenant, share in shares.items())
    print(f"let in during the {both - started:.0f} s in which both tenants waited: {said}")
    for (tenant, priority), own in waits.items():
        if own:
            print(f"{tenant}, priority {priority}: {len(own)} jobs waited {median(own):.0f} s, {max(own):.0f} at most")
    first = [j.first_block_at - j.started_at for j in jobs if j.first_block_at and j.started_at]
    print(f"let in to first block: p50 {median(first):.1f} s, p95 {measures.quantile(first, 0.95):.1f} s")
