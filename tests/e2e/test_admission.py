"""A job for which there is no room waits in a real Airflow, goes on by itself when there is, and ends with its run."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from fixtures.stack import Stack, until
from tradu.admission import load_policy
from tradu.cli.watch import DAG
from tradu.ledger.jobs import JobRequest, admit

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
SENTENCE = "The library on the other side of the river opens at nine in the morning. "


@pytest.fixture
def one_at_a_time(stack: Stack) -> Iterator[None]:
    file = stack.settings.home / "admission.yaml"
    file.write_text("most_running: 1\n")
    yield
    file.unlink()


def test_the_second_job_waits_for_the_first(stack: Stack, one_at_a_time: None) -> None:
    folder = stack.put({f"{n}.txt": SENTENCE * 20 + str(n) for n in range(2)}, "queue")
    for number in range(2):
        words = ("translate", str(folder / f"{number}.txt"), "--from", "en", "--to", "pt", "--key", f"queue-{number}")
        assert stack.tradu(*words, "--no-wait").returncode == 0

    def both() -> bool:
        jobs = json.loads(stack.tradu("jobs", "--json").stdout)
        mine = {j["idempotency_key"]: j["state"] for j in jobs if j["idempotency_key"].startswith("queue-")}
        return sorted(mine.values()) == ["DEFERRED", "RUNNING"]

    until("one job to run and the other to wait", both, 60)
    asked = json.loads(stack.tradu("queue", "--json").stdout)
    assert [job["tenant"] for job in asked["waiting"]] == ["default"]
    assert "1 jobs run" in asked["reason"]
    for number in range(2):
        until("the job to end", lambda key=f"queue-{number}": stack.job(key).state == "COMPLETED", 120)  # type: ignore[misc]


def ask(stack: Stack, key: str) -> str:
    """Start a run that waits for its turn; its id."""
    folder = stack.put({f"{key}/a.txt": SENTENCE}, "documents") / key
    conf = {"documents": [folder.as_uri()], "targets": ["pt"], "source": "en", "idempotency_key": key}
    return stack.api.trigger(DAG, conf)


def waits(stack: Stack, run_id: str) -> bool:
    return [i.state for i in stack.instances(run_id, "admit")] == ["deferred"]


def test_a_run_that_is_ended_by_hand_gives_its_place_back(stack: Stack, one_at_a_time: None) -> None:
    first = JobRequest(["file:///x"], ["pt"], "holds-the-place")
    holds = admit(first, "no run", stack.line.ledger, load_policy(stack.settings))
    assert holds.proceed
    runs = {key: ask(stack, key) for key in ("failed", "succeeded", "lost")}
    for run_id in runs.values():
        until("the job to wait", lambda run_id=run_id: waits(stack, run_id))  # type: ignore[misc]
    stack.api.fail(DAG, runs["failed"])
    stack.api.call("PATCH", f"/dags/{DAG}/dagRuns/{runs['succeeded']}", json={"state": "success"})
    for key in ("failed", "succeeded"):
        job = stack.job(key)
        assert (job.state, "by hand" in (job.reason or "")) == ("ERROR", True)

    # a run that is gone without a word, as where Airflow's database was lost: its job was left five minutes ago
    with stack.line.ledger.transaction() as tx:
        tx.connection.execute(
            "UPDATE jobs SET run_id = 'gone', created_at = created_at - interval '10 minutes' "
            "WHERE idempotency_key = 'lost'"
        )
        tx.connection.execute("ALTER TABLE history DISABLE TRIGGER append_only")
        tx.connection.execute(
            "UPDATE history SET at = at - interval '10 minutes' "
            "WHERE job_id = (SELECT job_id FROM jobs WHERE idempotency_key = 'lost')"
        )
        tx.connection.execute("ALTER TABLE history ENABLE TRIGGER append_only")
    stack.api.fail(DAG, runs["lost"])  # the job has another run, as the ledger says: this one doesn't end it
    assert stack.job("lost").state == "DEFERRED"
    assert stack.ended(stack.api.trigger("tradu_watchdog", {}), "tradu_watchdog") == "success"
    assert stack.job("lost").state == "ERROR"
    assert json.loads(stack.tradu("queue", "--json").stdout)["waiting"] == []

    with stack.line.ledger.transaction() as tx:
        tx.run("end_job", job_id=holds.job_id, state="CANCELED", reason=None)
    assert stack.tradu("resume", str(stack.job("failed").job_id)).returncode == 0
    until("the job to end", lambda: stack.job("failed").state == "COMPLETED")
