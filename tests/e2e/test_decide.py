"""Where people are needed, through a real Airflow: a stopped gate is decided on, a bad block let go, an alert told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.stack import Stack, until
from tradu.cli.watch import DAG

DECIDE, WATCHDOG = "tradu_decide", "tradu_watchdog"
GOOD = "The bridge over the river will be repaired in the summer.\n"
pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


def _stopped(stack: Stack, key: str) -> tuple[str, str]:
    """A job that the gate on blocks has stopped, and the run of tradu_decide that asks about it."""
    noise = {f"{key}/{n:02}.txt": f"{'zxqj kwvb ' * 30}{n} {key}\n" for n in range(24)}
    folder = stack.put(noise | {f"{key}/good.txt": GOOD}, "documents") / key
    conf = {"documents": [folder.as_uri()], "targets": ["pt"], "source": "en", "idempotency_key": key}
    run_id = stack.api.trigger(DAG, conf)
    assert stack.ended(run_id) == "failed"
    job = stack.job(key)
    assert (job.state, job.stopped_by) == ("ERROR", "blocks")
    (ask,) = stack.instances(run_id, "ask")
    assert ask.state == "success"
    asked = f"blocks__{run_id}"
    until("the question", lambda: stack.instances(asked, "ask", DECIDE)[0].state == "awaiting_input")
    return str(job.job_id), asked


def _answer(stack: Stack, asked: str, option: str) -> None:
    """Answer as a person does, and see the run to its end. An answer in the very second of the question may come while
    Airflow still puts the task away: it then asks again (no person is that quick), and is answered again."""
    path = f"/dags/{DECIDE}/dagRuns/{asked}/taskInstances/ask/-1/hitlDetails"
    question: dict[str, Any] = stack.api.call("GET", path)
    assert "25 rows" in question["body"]
    assert question["options"] == ["Accept", "Retry with a higher tier", "Drop"]

    def answered() -> bool:
        if stack.instances(asked, "ask", DECIDE)[0].state == "awaiting_input":
            stack.api.call("PATCH", path, json={"chosen_options": [option]})
        return stack.api.run(DECIDE, asked).ended

    until("the decision to be carried out", answered)
    assert stack.api.run(DECIDE, asked).state == "success"


def test_a_person_accepts_in_airflow_and_the_job_goes_on(stack: Stack) -> None:
    job_id, asked = _stopped(stack, "accepted")
    _answer(stack, asked, "Accept")
    until("the job to end", lambda: stack.job("accepted").state == "PARTIAL")
    assert "ponte" in stack.line.output(job_id, "accepted/good.txt").decode().lower()
    with stack.line.ledger.transaction() as tx:
        decided = tx.connection.execute("SELECT gate, decision FROM decisions WHERE job_id = %s", (job_id,)).fetchall()
    assert decided == [("blocks", "accept")]
    assert f"decided__{asked}" in stack.runs(), "tried again, the task finds the run that it has started"


def test_a_job_that_is_dropped_on_the_command_line_is_not_taken_up_by_a_late_answer(stack: Stack) -> None:
    job_id, asked = _stopped(stack, "dropped")
    assert json.loads(stack.tradu("decide", job_id, "drop", "--json").stdout)["run_id"] is None
    assert stack.tradu("decide", job_id, "accept").returncode == 2
    runs = set(stack.runs())
    _answer(stack, asked, "Accept")
    (go_on,) = stack.instances(asked, "go_on", DECIDE)
    assert go_on.state == "skipped"
    assert set(stack.runs()) == runs
    assert stack.job("dropped").state == "ERROR"


def test_a_job_that_stops_again_after_an_answer_is_asked_about_again(stack: Stack) -> None:
    job_id, asked = _stopped(stack, "again")
    assert stack.tradu("decide", job_id, "drop").returncode == 0
    clear = {
        "dry_run": False,
        "only_failed": False,
        "dag_run_id": asked.removeprefix("blocks__"),
        "task_ids": ["gate_blocks"],
    }
    stack.api.call("POST", f"/dags/{DAG}/clearTaskInstances", json=clear | {"include_downstream": True})
    second = f"{asked}__1"
    until("the second question", lambda: second in stack.runs(DECIDE))
    assert stack.job("again").stopped_by == "blocks"


def test_a_quarantined_block_is_shown_tried_again_and_released(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text(GOOD)
    (tmp_path / "odd.txt").write_text(f"{'zxqj kwvb ' * 30}\n")
    ended = stack.tradu("translate", str(tmp_path), "--from", "en", "--to", "pt", "--wait", "--json")
    job_id = json.loads(ended.stdout)["job"]["job_id"]
    listed = json.loads(stack.tradu("quarantine", "list", job_id, "--json").stdout)
    (letter,) = (one for one in listed if one["entity"] == "block")
    shown = json.loads(stack.tradu("quarantine", "show", letter["entity_id"], "--json").stdout)
    assert any("zxqj" in s["source"] for s in shown["segments"])
    done = stack.tradu("quarantine", "release", job_id, letter["entity_id"], "--json")
    assert done.returncode == 0, done.stderr
    assert stack.ended(json.loads(done.stdout)["run_id"]) == "success"
    after = json.loads(stack.tradu("job", job_id, "--json").stdout)
    assert after["job"]["state"] == "COMPLETED"
    assert json.loads(stack.tradu("quarantine", "list", job_id, "--json").stdout) == []
    found = stack.tradu("verify", job_id, "--json")
    assert (found.returncode, json.loads(found.stdout)["findings"]["faults"]) == (0, [])
    trace = json.loads(stack.tradu("trace", letter["entity_id"], "--json").stdout)
    who = {step["actor"].partition("@")[0] for step in trace}
    assert {"admit", "partition", "gate_blocks", "assemble", "publish", "cli"} <= who


def test_the_watchdog_runs_and_tells_when_a_person_is_needed(stack: Stack) -> None:
    assert stack.ended(stack.api.trigger(WATCHDOG, {}), WATCHDOG) == "success"
    with stack.line.ledger.transaction() as tx:
        tx.connection.execute(
            "INSERT INTO circuits VALUES ('model:test@1', 9, 'the engine died', 2, now(), now() + interval '1 hour')"
        )
    try:
        run_id = stack.api.trigger(WATCHDOG, {})
        assert stack.ended(run_id, WATCHDOG) == "failed"
        (tell,) = stack.instances(run_id, "tell", WATCHDOG)
        assert "circuit model:test@1 is open" in (stack.api.last_error(WATCHDOG, run_id, tell) or "")
    finally:
        with stack.line.ledger.transaction() as tx:
            tx.run("close_circuits", names=["model:test@1"], kind="circuit_closed")


def test_incidents_and_ledger_are_shown(stack: Stack) -> None:
    assert stack.tradu("incidents", "--json").returncode == 0
    shown = stack.tradu("ledger", "status")
    assert (shown.returncode, "They agree." in shown.stderr + shown.stdout) == (0, True), shown.stderr
    status = stack.tradu("ledger", "status", "--json")
    assert (status.returncode, json.loads(status.stdout)["problem"]) == (0, None)
