"""Airflow tasks that are killed while their shard runs on Dask: the retry adopts the shard, nothing runs twice."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

from drills import harm
from drills.drill import Begin, Drill, Undisturbed
from drills.eyes import soon
from drills.prose import LONG
from fixtures.stack import Stack
from tradu.cli.watch import DAG

EPOCHS = "SELECT shard, epoch FROM shards WHERE job_id = %(job)s ORDER BY shard"
CLAIMS = """
SELECT entity_id FROM history WHERE job_id = %(job)s AND entity = 'block' AND to_state = 'CLAIMED'
GROUP BY 1 HAVING count(*) <> 1
"""
OF_SHARD = """
SELECT k.block_id FROM blocks k JOIN batches b USING (job_id, batch)
WHERE k.job_id = %(job)s AND b.shard = %(shard)s AND k.state = 'CLAIMED' AND k.lease_until > now() LIMIT 1
"""
STEP_SECONDS, TOLD_SECONDS, COMES_SECONDS = 0.005, 1.0, 2.0
pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


def _stopped_submitting(drill: Drill) -> tuple[int, int] | None:
    """A shard that workers have begun while the task that submitted it still runs, and that task's process, frozen."""
    for shard, _ in drill.ledger.rows(EPOCHS, job=drill.job):
        running = drill.running_task("infer", shard)
        if running and _stepped(drill, shard, running[2]):
            return shard, running[2]
    return None


def _stepped(drill: Drill, shard: int, pid: int) -> bool:
    """Freeze a task in the few hundredths of a second between its submission and its end, by letting it go on in steps.

    What it has told Airflow before is known there after a while. False: it got away.
    """
    while drill.running_task("infer", shard) and psutil.pid_exists(pid):
        os.kill(pid, signal.SIGSTOP)
        if dict(drill.ledger.rows(EPOCHS, job=drill.job))[shard] and _begun(drill, shard):
            return True
        os.kill(pid, signal.SIGCONT)
        time.sleep(STEP_SECONDS)
    return False


def _begun(drill: Drill, shard: int) -> bool:
    """Whether workers come to a shard whose task is frozen; they may have others' batches to do first."""
    time.sleep(TOLD_SECONDS)
    end = time.monotonic() + COMES_SECONDS
    while drill.running_task("infer", shard) and time.monotonic() < end:
        if drill.ledger.rows(OF_SHARD, job=drill.job, shard=shard):
            return True
        time.sleep(STEP_SECONDS)
    return False


def _adopted(drill: Drill, shard: int, attempt: int) -> None:
    """The shard was neither submitted nor worked on again, though its task was."""
    assert all(epoch == 1 for _, epoch in drill.ledger.rows(EPOCHS, job=drill.job)), "a shard was submitted again"
    assert drill.ledger.rows(CLAIMS, job=drill.job) == [], "a block was claimed again"
    state, last, _ = drill.task("infer", shard)
    assert (state, last > attempt) == ("success", True)


def test_the_submitting_task_is_killed(drilled: Stack, long_run: Undisturbed, begin: Begin) -> None:
    drill = begin(drilled, "airflow-task submitting", LONG)
    shard, pid = soon("a shard to run while its task does", lambda: _stopped_submitting(drill), 120)
    attempt = drill.task("infer", shard)[1]
    harm.kill(drill.layout, pid)
    drill.harmed()
    drill.finish("SIGKILL to the task that submitted a shard, while it runs", long_run)
    _adopted(drill, shard, attempt)


def test_the_adopting_task_is_killed(drilled: Stack, long_run: Undisturbed, begin: Begin) -> None:
    drill = begin(drilled, "airflow-task in infer", LONG)
    drill.reach_share()
    shards = [shard for (shard, _) in drill.ledger.rows(EPOCHS, job=drill.job)]
    shard, attempt = _start_again(drill, shards)
    pid = soon("the cleared task to run", lambda: drill.running_task("infer", shard), 120)[2]
    harm.kill(drill.layout, pid)
    drill.harmed()
    drill.finish("infer cleared, then SIGKILL to its task", long_run)
    _adopted(drill, shard, attempt)


def test_the_process_around_the_task_is_killed(drilled: Stack, long_run: Undisturbed, begin: Begin) -> None:
    drill = begin(drilled, "airflow-executor in infer", LONG)
    drill.reach_share()
    shards = [shard for (shard, _) in drill.ledger.rows(EPOCHS, job=drill.job)]
    shard, attempt = _start_again(drill, shards)
    pid = soon("the cleared task to run", lambda: drill.running_task("infer", shard), 120)[2]
    around = psutil.Process(pid).ppid()
    assert around != harm.pid_of(drill.layout, "airflow-scheduler")
    harm.kill(drill.layout, around)
    drill.harmed()
    drill.finish("infer cleared, then SIGKILL to the executor's process around its task", long_run)
    _adopted(drill, shard, attempt)


def _start_again(drill: Drill, shards: list[int]) -> tuple[int, int]:
    """Clear the task of a shard that still waits, as people do in the UI; the shard, and the attempt before."""
    waiting = [shard for shard in shards if drill.task("infer", shard)[0] == "deferred"]
    assert waiting, "no shard waits any more"
    shard = drill.random.choice(waiting)
    attempt = drill.task("infer", shard)[1]
    asked = {
        "dry_run": False,
        "only_failed": False,
        "dag_run_id": drill.run_id,
        "task_ids": [["infer", shard]],
    }
    drill.stack.api.call("POST", f"/dags/{DAG}/clearTaskInstances", json=asked)
    return shard, attempt
