"""The trigger of jobs that wait: it takes their turns against a real ledger, and outlives a policy that is broken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tradu.admission import current_policy, load_policy
from tradu.ledger import turns
from tradu.ledger.connection import Ledger, get_ledger
from tradu.ledger.jobs import JobRequest, admit, find
from tradu.settings import get_settings
from tradu_airflow.stages import end_failed_job
from tradu_airflow.triggers import TurnPoller


@pytest.fixture
def ledger(ledger_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setenv("TRADU_LEDGER_URL", ledger_database)
    monkeypatch.setenv("TRADU_HOME", str(tmp_path))
    (tmp_path / "admission.yaml").write_text("most_running: 1\n")
    yield get_ledger("test")
    get_ledger("test").close()
    get_ledger("trigger").close()


def ask(ledger: Ledger, key: str) -> UUID:
    request = JobRequest(["file:///x"], ["pt"], key, request_id=key)
    return admit(request, key, ledger, load_policy(get_settings())).job_id


def end(ledger: Ledger, job: UUID) -> None:
    with ledger.transaction() as tx:
        tx.run("end_job", job_id=job, state="COMPLETED", reason=None)


def test_each_job_goes_on_when_it_is_its_turn(ledger: Ledger) -> None:
    jobs = [ask(ledger, str(number)) for number in range(3)]

    async def scenario() -> None:
        poller = TurnPoller(0.05)
        waits = [asyncio.create_task(poller.wait(job)) for job in jobs[1:]]
        await asyncio.sleep(0.3)
        assert not any(wait.done() for wait in waits)
        for ended, wait in zip(jobs, waits, strict=False):
            await asyncio.to_thread(end, ledger, ended)
            await asyncio.wait_for(wait, 10)

    asyncio.run(scenario())
    assert [find(job, ledger).state for job in jobs] == ["COMPLETED", "COMPLETED", "RUNNING"]


def test_a_second_run_that_waits_for_the_same_job_goes_on_when_the_first_is_stopped(ledger: Ledger) -> None:
    first, second = ask(ledger, "1"), ask(ledger, "2")

    async def scenario() -> None:
        poller = TurnPoller(0.05)
        stopped, waits = [asyncio.create_task(poller.wait(second)) for _ in range(2)]
        await asyncio.sleep(0)
        stopped.cancel()
        await asyncio.to_thread(end, ledger, first)
        await asyncio.wait_for(waits, 10)

    asyncio.run(scenario())


def test_a_job_whose_run_fails_while_it_waits_ends_with_it(ledger: Ledger) -> None:
    first, second = ask(ledger, "1"), ask(ledger, "2")
    end_failed_job({"run_id": "2"})
    get_ledger("callback").close()
    end(ledger, first)
    assert turns.turn_of([second], ledger, load_policy(get_settings())) == {second}
    assert find(second, ledger).state == "ERROR", "it would take up a place with nobody behind it"


def test_a_policy_that_is_broken_for_a_while_does_not_end_the_waiting(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tradu_airflow.triggers.RETRY_SECONDS", 0.05)
    first, second = ask(ledger, "1"), ask(ledger, "2")

    async def scenario() -> None:
        wait = asyncio.create_task(TurnPoller(0.05).wait(second))
        (tmp_path / "admission.yaml").write_text("most_running: none\n")
        await asyncio.to_thread(end, ledger, first)
        await asyncio.sleep(0.3)
        assert not wait.done()
        (tmp_path / "admission.yaml").write_text("most_running: 1\n")
        await asyncio.wait_for(wait, 10)

    asyncio.run(scenario())
    assert find(second, ledger).state == "RUNNING"


def test_a_policy_that_becomes_wrong_holds_up_nobody_who_has_read_a_good_one(ledger: Ledger, tmp_path: Path) -> None:
    first, second = ask(ledger, "1"), ask(ledger, "2")
    assert current_policy().most_running == 1
    (tmp_path / "admission.yaml").write_text("most_running: none\n")
    end(ledger, first)
    asyncio.run(asyncio.wait_for(TurnPoller(0.05).wait(second), 10))
    assert find(second, ledger).state == "RUNNING"
