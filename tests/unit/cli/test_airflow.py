"""The REST client, against a real HTTP server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tradu.cli.airflow import AirflowClient, connect
from tradu.errors import RequestError, SystemicError
from tradu.settings import get_settings

if TYPE_CHECKING:
    from pathlib import Path

    from unit.cli.conftest import FakeAirflow

DAG = "tradu_translate"


def test_a_run_is_triggered_and_looked_at(airflow: FakeAirflow) -> None:
    client = connect(get_settings())
    run_id = client.trigger(DAG, {"targets": ["pt"]})
    assert airflow.confs == [{"targets": ["pt"]}]
    run = client.run(DAG, run_id)
    assert (run.state, run.ended, run.started_at) == ("running", False, datetime(2026, 1, 1, tzinfo=UTC))


def test_an_expired_token_is_renewed(airflow: FakeAirflow) -> None:
    airflow.token_calls = 2
    client = connect(get_settings())
    run_id = client.trigger(DAG, {})
    for _ in range(5):
        client.run(DAG, run_id)
    assert len(airflow.tokens) == 3


def test_a_wrong_password_is_refused(airflow: FakeAirflow) -> None:
    with pytest.raises(RequestError, match="TRADU_API_PASSWORD"):
        AirflowClient(airflow.url, "admin", "wrong").sign_in()


def test_an_api_that_is_not_there(home: Path) -> None:
    with pytest.raises(SystemicError, match="tradu up"):
        connect(get_settings()).run(DAG, "x")


def test_without_a_stack_no_password_is_made(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRADU_API_PASSWORD")
    with pytest.raises(SystemicError, match="no stack yet"):
        connect(get_settings())
    assert not home.exists()


def test_a_refusal_carries_the_message_of_the_api(airflow: FakeAirflow) -> None:
    airflow.refuse = "targets: 'xx1' does not match"
    with pytest.raises(RequestError, match="'xx1' does not match"):
        connect(get_settings()).trigger(DAG, {})


def test_a_dag_may_be_late(airflow: FakeAirflow) -> None:
    airflow.unknown_for = 2
    connect(get_settings()).wait_for_dag(DAG, patience_seconds=10, sleep=lambda _: None)
    airflow.unknown_for = 10**6
    with pytest.raises(SystemicError, match="has no DAG"):
        connect(get_settings()).wait_for_dag(DAG, patience_seconds=0, sleep=lambda _: None)


def test_a_paused_dag_is_said(airflow: FakeAirflow) -> None:
    airflow.paused = True
    with pytest.raises(RequestError, match="paused"):
        connect(get_settings()).wait_for_dag(DAG)


def test_tasks_come_in_the_order_of_the_line(airflow: FakeAirflow) -> None:
    assert connect(get_settings()).task_order(DAG) == ["admit", "ingest", "infer"]


def test_all_pages_of_task_instances_are_read(airflow: FakeAirflow) -> None:
    airflow.ran(*(("infer", "success", i) for i in range(250)))
    found = connect(get_settings()).task_instances(DAG, "any")
    assert [i.map_index for i in found] == list(range(250))


def test_a_run_is_failed_once(airflow: FakeAirflow) -> None:
    client = connect(get_settings())
    run_id = client.trigger(DAG, {})
    assert client.fail(DAG, run_id) is True
    assert airflow.runs[run_id] == "failed"
    assert client.fail(DAG, run_id) is False
    assert client.fail(DAG, "gone") is False


def test_the_last_exception_of_a_log_is_found(airflow: FakeAirflow) -> None:
    airflow.ran(("admit", "failed", -1))
    airflow.log = [
        {"event": "starting"},
        {
            "event": "Task failed",
            "error_detail": [{"exc_value": "the cause"}, {"exc_value": "no model translates"}],
        },
        {"event": "done"},
    ]
    client = connect(get_settings())
    (instance,) = client.task_instances(DAG, "any")
    assert client.last_error(DAG, "any", instance) == "no model translates"
    airflow.log = [{"event": "nothing wrong"}]
    assert client.last_error(DAG, "any", instance) is None
