"""A job for which there is no room waits in a real Airflow, and goes on by itself when there is."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from fixtures.stack import Stack, until

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
