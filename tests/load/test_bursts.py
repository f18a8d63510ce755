"""Bursts of jobs on a whole stack: workers follow the work up and down, and no process grows (`make load`).

Real documents go through Airflow's REST API to a real cheap engine (Apertium). TRADU_LOAD_BURSTS is the number of
bursts (3), TRADU_LOAD_PERIOD_SECONDS the time between them (90). TRADU_BENCH_RESULTS names a file for the figures, of
which plots.py makes the pictures of docs/scaling.md; TRADU_LOAD_TRACE one for the trace that a unit test plays again.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.test_storage import keep
from fixtures.stack import Stack, running, until
from load import measures
from load.clients import Request, send, texts
from load.measures import JobTimes, ScaleUp
from load.watcher import watching
from tradu.cluster.scaling.policy import load_policies

pytestmark = [pytest.mark.stack, pytest.mark.apertium, pytest.mark.timeout(1_800)]
BURSTS = int(os.environ.get("TRADU_LOAD_BURSTS", "3"))
PERIOD_SECONDS = float(os.environ.get("TRADU_LOAD_PERIOD_SECONDS", "90"))
JOBS_OF_BURST, APART_SECONDS = 4, 2.0
CHARACTERS = int(os.environ.get("TRADU_LOAD_CHARACTERS", "250000"))
"""Of a job."""
ALONE = 3
"""Jobs on an idle line, one after another, to compare with."""
WORKERS = 3
SCALING = """
pools:
  cpu: {floor: 1, ceiling: 3, drain_seconds: 2, oldest_seconds: 10, step_up: 2, cooldown_seconds: 15}
"""
Growth = dict[str, tuple[float, float]]
FLAT_SHARE, FLAT_MIB = 0.1, 16.0
"""A process is flat when it has grown by no more than this share and these MiB from the first third to the last."""


def latencies(jobs: list[JobTimes], due: dict[str, float]) -> list[float]:
    """Seconds from when a request was due to the first finished block of its job."""
    return [job.first_block_at - due[job.key] for job in jobs if job.first_block_at is not None]


def test_workers_follow_the_work(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> None:
    with running(tmp_path_factory.mktemp("load"), request.session, TRADU_WORKERS=str(WORKERS)) as stack:
        (stack.settings.home / "scaling.yaml").write_text(SCALING)
        _run(stack)


def _run(stack: Stack) -> None:
    dsn, policy = stack.line.ledger.dsn, load_policies(stack.settings)["cpu"]
    names = [f"alone-{n}" for n in range(ALONE)]
    names += [f"burst-{b}-{n}" for b in range(BURSTS) for n in range(JOBS_OF_BURST)]
    files = {f"{key}.txt": text for key, text in zip(names, texts(CHARACTERS), strict=False)}
    documents = stack.put(files, "documents")
    with watching(stack) as watch:
        until("an idle pool", lambda: watch.samples and watch.samples[-1].workers == policy.floor, 120)
        due = {}
        for key in names[:ALONE]:
            (sent,) = send(stack, [Request(key, 0, str(documents / f"{key}.txt"))], time.time())
            due[key] = sent.due_at
            assert stack.ended(sent.run_id) == "success"
        until("an idle pool again", lambda: watch.samples[-1].workers == policy.floor, 120)
        plan = [
            Request(f"burst-{b}-{n}", b * PERIOD_SECONDS + n * APART_SECONDS, str(documents / f"burst-{b}-{n}.txt"))
            for b in range(BURSTS)
            for n in range(JOBS_OF_BURST)
        ]
        started = time.time()
        asked = send(stack, plan, started)
        due |= {sent.request.key: sent.due_at for sent in asked}
        for sent in asked:
            assert stack.ended(sent.run_id) == "success", sent
        until("the pool at its floor", lambda: watch.samples[-1].workers == policy.floor, 180)
        ended = time.time()
    alone = latencies(measures.jobs(dsn, "alone-"), due)
    bursts = measures.jobs(dsn, "burst-")
    assert {job.state for job in bursts} == {"COMPLETED"}
    in_bursts = latencies(bursts, due)
    rows = measures.decisions(dsn)
    ups = measures.scale_ups(dsn, rows, list(watch.workers.values()), "burst-")
    grown = watch.growth(started, ended)
    turns = measures.turns(rows)
    _say(alone, in_bursts, ups, grown, turns)
    keep(
        "load",
        {
            "started": started,
            "samples": [asdict(s) for s in watch.samples],
            "memory": watch.memory,
            "latencies": [[due[j.key], j.first_block_at - due[j.key]] for j in bursts if j.first_block_at],
            "scale_ups": [asdict(up) for up in ups],
        },
    )
    if name := os.environ.get("TRADU_LOAD_TRACE"):
        Path(name).write_text(json.dumps(measures.trace(rows, measures.arrivals(dsn, "burst-")), indent=1) + "\n")
    assert ups, "nothing was scaled: the bursts are too small"
    seen = [s for s in watch.samples if started <= s.at <= ended]
    assert isinstance(policy.floor, int)
    assert isinstance(policy.ceiling, int)
    assert all(policy.floor <= s.wanted <= policy.ceiling and s.workers <= policy.ceiling for s in seen)
    assert {s.wanted for s in seen} >= {policy.floor, policy.ceiling}
    assert all(between >= policy.cooldown_seconds - 0.1 for between in turns), "one change of direction a cool-down"
    assert [name for name, (early, late) in grown.items() if late > early * (1 + FLAT_SHARE) + FLAT_MIB] == []
    bound = 2 * measures.quantile(alone, 0.95) + max(up.total for up in ups)
    assert measures.quantile(in_bursts, 0.95) < bound


def _say(alone: list[float], bursts: list[float], ups: list[ScaleUp], grown: Growth, turns: list[float]) -> None:
    print(f"\nfrom due to the first block, s: alone {_line(alone)}; in bursts {_line(bursts)}")
    for name in (*ScaleUp.__slots__, "total"):
        if ups:
            print(f"scale-up, {name}: {_line([getattr(up, name) for up in ups])} s")
    print(f"changes of direction after: {', '.join(f'{t:.0f} s' for t in turns)}")
    for name, (early, late) in sorted(grown.items(), key=lambda item: -item[1][1])[:20]:
        print(f"{name}: {early:.0f} MiB in the first third, {late:.0f} in the last")


def _line(values: list[float]) -> str:
    return f"p50 {measures.quantile(values, 0.5):.2f}, p95 {measures.quantile(values, 0.95):.2f} (of {len(values)})"
