"""Turns at admission on a real ledger: one at a time, however many ask."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from tradu.admission import AdmissionPolicy, Tenant
from tradu.errors import RequestError, SystemicError
from tradu.ledger import turns
from tradu.ledger.cancel import cancel
from tradu.ledger.connection import Ledger
from tradu.ledger.jobs import Admission, JobRequest, admit, find

POLICY = AdmissionPolicy(
    high_characters=10**9,
    low_characters=10**9,
    most_running=3,
    most_deferred=4,
    ageing_minutes=10,
    tenants={"*": Tenant()},
)


def ask(ledger: Ledger, key: str, tenant: str = "t", priority: int = 5, policy: AdmissionPolicy = POLICY) -> Admission:
    request = JobRequest(["file:///x"], ["pt"], key, tenant=tenant, priority=priority, request_id=f"run-{key}")
    return admit(request, f"run-{key}", ledger, policy)


def states(ledger: Ledger, *jobs: UUID) -> list[str]:
    return [find(job, ledger).state for job in jobs]


def end(ledger: Ledger, job: UUID) -> None:
    with ledger.transaction() as tx:
        tx.run("end_job", job_id=job, state="COMPLETED", reason=None)


def test_a_job_waits_and_is_let_in_when_another_has_ended(ledger: Ledger) -> None:
    running = [ask(ledger, f"r{n}").job_id for n in range(3)]
    late, urgent = ask(ledger, "late").job_id, ask(ledger, "urgent", priority=9).job_id
    assert states(ledger, *running, late, urgent) == ["RUNNING"] * 3 + ["DEFERRED"] * 2
    assert "3 jobs run" in str(find(late, ledger).reason)
    assert turns.turn_of([late, urgent], ledger, POLICY) == set()
    end(ledger, running[0])
    assert turns.turn_of([late, urgent], ledger, POLICY) == {urgent}
    job = find(urgent, ledger)
    assert (job.state, job.run_id, job.reason) == ("RUNNING", "run-urgent", None)
    assert states(ledger, late) == ["DEFERRED"]
    with ledger.transaction() as tx:
        steps = tx.connection.execute(
            "SELECT from_state, to_state FROM history WHERE job_id = %s ORDER BY at", (urgent,)
        ).fetchall()
    assert steps == [("", "DEFERRED"), ("DEFERRED", "ADMITTED"), ("ADMITTED", "RUNNING")]


def test_the_same_request_finds_its_place_again_and_another_run_takes_it_over(ledger: Ledger) -> None:
    for number in range(3):
        ask(ledger, f"r{number}")
    first = ask(ledger, "w")
    again = admit(JobRequest(["file:///x"], ["pt"], "w", tenant="t", request_id="run-2"), "run-2", ledger, POLICY)
    assert (again.job_id, again.state, again.proceed) == (first.job_id, "DEFERRED", False)
    assert find(first.job_id, ledger).run_id == "run-2"


def test_one_that_was_ended_while_it_waited_jumps_no_line_when_it_is_resumed(ledger: Ledger) -> None:
    running = [ask(ledger, f"r{n}").job_id for n in range(3)]
    lost, others = ask(ledger, "lost").job_id, [ask(ledger, f"w{n}").job_id for n in range(2)]
    with ledger.transaction() as tx:
        tx.run("end_job", job_id=lost, state="ERROR", reason="its run is gone")
    again = admit(JobRequest(["file:///x"], ["pt"], "lost", tenant="t", request_id="run-2"), "run-2", ledger, POLICY)
    assert (again.job_id, again.state, again.proceed) == (lost, "DEFERRED", False)
    job = find(lost, ledger)
    assert (job.run_id, job.request_id, job.finished_at) == ("run-2", "run-2", None)
    assert "3 jobs run" in str(job.reason)
    end(ledger, running[0])
    assert turns.turn_of([lost, *others], ledger, POLICY) == {lost}, "it is the oldest still"
    assert states(ledger, lost) == ["RUNNING"]


def test_one_that_was_ended_while_it_waited_runs_at_once_where_there_is_room(ledger: Ledger) -> None:
    running = [ask(ledger, f"r{n}").job_id for n in range(3)]
    lost = ask(ledger, "lost").job_id
    with ledger.transaction() as tx:
        tx.run("end_job", job_id=lost, state="ERROR", reason="its run is gone")
    end(ledger, running[0])
    assert ask(ledger, "lost").proceed
    with ledger.transaction() as tx:
        tx.run("end_job", job_id=lost, state="ERROR", reason="it had begun")
    assert ask(ledger, "next").proceed
    assert ask(ledger, "lost").proceed, "it had its turn"


def test_one_that_was_ended_while_it_waited_counts_as_one_more_that_waits(ledger: Ledger) -> None:
    for number in range(3):
        ask(ledger, f"r{number}")
    lost = ask(ledger, "lost").job_id
    with ledger.transaction() as tx:
        tx.run("end_job", job_id=lost, state="ERROR", reason="its run is gone")
    for number in range(POLICY.most_deferred):
        ask(ledger, f"w{number}")
    with pytest.raises(RequestError, match=r"4 jobs of tenant 't' wait.*ask again in \d+ s"):
        ask(ledger, "lost")
    assert states(ledger, lost) == ["ERROR"]


def test_too_many_of_a_tenant_are_refused_with_the_time_to_come_again(ledger: Ledger) -> None:
    for number in range(3 + POLICY.most_deferred):
        ask(ledger, f"r{number}")
    with pytest.raises(RequestError, match=r"4 jobs of tenant 't' wait.*ask again in \d+ s"):
        ask(ledger, "one too many")
    assert ask(ledger, "other", tenant="u").state == "DEFERRED"
    with ledger.transaction() as tx:
        assert not tx.tuples("find_jobs", begins="one too many", ends="x")


def test_one_that_is_cancelled_waits_no_more(ledger: Ledger) -> None:
    for number in range(3):
        ask(ledger, f"r{number}")
    waiting = ask(ledger, "w").job_id
    cancel(ledger, find(waiting, ledger))
    assert turns.turn_of([waiting], ledger, POLICY) == {waiting}
    assert states(ledger, waiting) == ["CANCELED"]


def test_turns_beside_one_another_let_in_no_more_than_may_run(ledger: Ledger) -> None:
    policy = POLICY.model_copy(update={"most_deferred": 100})
    start = threading.Barrier(8)

    def one(number: int) -> UUID:
        start.wait(30)
        return ask(ledger, f"j{number}", policy=policy).job_id

    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(one, range(8)))
    assert sorted(states(ledger, *jobs)) == ["DEFERRED"] * 5 + ["RUNNING"] * 3


def test_a_burst_that_asks_by_admitting_gets_no_more_than_there_is_room_for(ledger: Ledger) -> None:
    start = threading.Barrier(12)

    def one(number: int) -> str:
        start.wait(30)
        try:
            return ask(ledger, f"j{number}").state
        except RequestError as error:
            return str(error)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(one, range(12)))
    assert (answers.count("RUNNING"), answers.count("DEFERRED")) == (3, 4)
    assert sum("ask again in" in answer for answer in answers) == 5
    reserved = f"j{answers.index('RUNNING')}"
    run = ask(ledger, reserved)
    assert run.proceed, "the run that is started then goes on with what was reserved"
    assert run == ask(ledger, reserved)


def test_the_line_is_full_by_what_is_open(ledger: Ledger) -> None:
    policy = POLICY.model_copy(update={"high_characters": 150_000, "low_characters": 50_000, "most_running": 100})
    first = ask(ledger, "first", policy=policy).job_id  # nobody has measured it yet: it counts as a usual one
    assert ask(ledger, "second", policy=policy).state == "RUNNING"
    third = ask(ledger, "third", policy=policy).job_id
    assert states(ledger, third) == ["DEFERRED"]
    end(ledger, first)
    assert turns.turn_of([third], ledger, policy) == set(), "100,000 characters are open: more than the low mark"
    with ledger.transaction() as tx:
        tx.run("end_job", job_id=ask(ledger, "second", policy=policy).job_id, state="ERROR", reason="x")
    assert turns.turn_of([third], ledger, policy) == {third}
    assert turns.standing(ledger).reason == ""


def test_who_is_frozen_while_it_takes_a_turn_holds_up_nobody(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "IDLE_SECONDS", 1)
    frozen = Ledger(ledger.dsn, "frozen")

    def freeze() -> None:
        with frozen.transaction() as tx:
            turns.take(tx, POLICY)
            assert states(ledger, ask(ledger, "next").job_id) == ["RUNNING"]

    with pytest.raises(SystemicError, match="stood still"):
        freeze()
    frozen.close()
