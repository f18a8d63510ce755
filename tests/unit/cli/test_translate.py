"""translate and demo: a request goes up, is worked on through the ledger, and its result is shown and copied."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import Result

from tradu.cli import watch
from tradu.cli.follow import Wishes, conf_of, finish, prepare, start
from tradu.cli.output import Output
from tradu.ledger import jobs
from tradu.ledger.rows import Job
from tradu.settings import get_settings

if TYPE_CHECKING:
    from unit.cli.conftest import FakeAirflow, Line

Tradu = Callable[..., Result]


@pytest.fixture
def guide(tmp_path: Path) -> str:
    file = tmp_path / "docs" / "guide.md"
    file.parent.mkdir()
    file.write_text("A text to translate.")
    return str(file.parent)


def _works(line: Line, state: str = "COMPLETED") -> Callable[[dict[str, Any]], None]:
    """What the DAG run does to the job: as the admit task, a job that is complete is left alone."""

    def work(conf: dict[str, Any]) -> None:
        admission = jobs.admit(
            jobs.JobRequest(**{k: v for k, v in conf.items() if k != "run_id"}), conf["run_id"], line.ledger
        )
        if admission.proceed:
            line.partition(admission.job_id)
            line.translate(admission.job_id, [0, 1, 2])
            if state != "COMPLETED":
                line.quarantine(admission.job_id, 1, "codes: one is lost")
            line.accept(admission.job_id)
            line.publish(admission.job_id, state)

    return work


def _job(line: Line) -> Job:
    with line.ledger.transaction() as tx:
        return tx.rows("jobs", Job, limit=1)[0]


def test_what_is_said_of_the_formats_goes_along(line: Line, airflow: FakeAirflow, tradu: Tradu, guide: str) -> None:
    said = ("--columns", "title,body", "--fields", "text", "--encoding", "cp1252", "--no-wait")
    assert tradu("translate", guide, "--to", "pt", *said).exit_code == 0
    assert airflow.confs[0]["options"] == {"columns": ["title", "body"], "fields": ["text"], "encoding": "cp1252"}


def test_documents_go_up_and_translations_come_back(
    line: Line, airflow: FakeAirflow, tradu: Tradu, guide: str, tmp_path: Path
) -> None:
    airflow.on_trigger = _works(line)
    airflow.ran(("admit", "success", -1), ("infer", "success", 0))
    result = tradu("translate", guide, "--to", "pt", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.stderr
    conf = airflow.confs[0]
    folder = conf["documents"][0]
    assert folder == f"{line.store.uri}/uploads/{conf['idempotency_key']}/"
    assert line.store.get(f"uploads/{conf['idempotency_key']}/docs/guide.md") == b"A text to translate."
    assert conf | {"documents": [], "idempotency_key": ""} == {
        "documents": [],
        "source": "auto",
        "targets": ["pt"],
        "profile": "balanced",
        "tenant": "default",
        "region": "default",
        "idempotency_key": "",
        "options": {"columns": None, "fields": None, "encoding": None},
        "max_cost": None,
        "priority": 5,
    }
    assert (tmp_path / "out" / "pt" / "docs" / "guide.md").read_bytes() == b"Um texto."
    assert "COMPLETED" in result.stdout
    assert "firefox-en-pt" in result.stdout
    assert "infer: success" in result.stderr


def test_the_same_again_shows_the_same_job(line: Line, airflow: FakeAirflow, tradu: Tradu, guide: str) -> None:
    airflow.on_trigger = _works(line)
    first, second, forced = (
        json.loads(tradu("translate", guide, "--to", "pt", "--wait", "--json", *more).stdout)
        for more in ((), (), ("--force",))
    )
    assert first["job"]["job_id"] == second["job"]["job_id"] != forced["job"]["job_id"]
    assert first["job"]["state"] == second["job"]["state"] == "COMPLETED"


def test_what_is_not_translated_is_listed_and_is_1(line: Line, airflow: FakeAirflow, tradu: Tradu, guide: str) -> None:
    airflow.on_trigger = _works(line, "PARTIAL")
    result = tradu("translate", guide, "--to", "pt", "--wait")
    assert result.exit_code == 1
    assert "codes: one is lost" in result.stdout
    assert "PARTIAL" in result.stdout


def test_a_run_that_admits_no_job_says_why(line: Line, airflow: FakeAirflow, tradu: Tradu, guide: str) -> None:
    airflow.next_state = "failed"
    airflow.ran(("admit", "failed", -1), ("ingest", "upstream_failed", -1))
    airflow.log = [{"event": "Task failed", "error_detail": [{"exc_value": "no model translates auto to xx"}]}]
    result = tradu("translate", guide, "--to", "xx", "--wait")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "admit: no model translates auto to xx" in result.stderr


def test_a_key_of_another_request_is_refused_and_not_answered_with_its_job(
    line: Line, airflow: FakeAirflow, tradu: Tradu, guide: str
) -> None:
    job = line.whole(key="taken")
    result = tradu("translate", guide, "--to", "pt", "--key", "taken", "--wait")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"'taken' names job {job}, whose documents are not these" in result.stderr
    assert not airflow.confs


def test_a_refused_request_is_2_with_the_message(line: Line, airflow: FakeAirflow, tradu: Tradu, guide: str) -> None:
    airflow.refuse = "profile: 'golden' is not one of economy, balanced, premium"
    result = tradu("translate", guide, "--to", "pt", "--profile", "golden")
    assert result.exit_code == 2
    assert "'golden' is not one of" in result.stderr


def test_a_language_that_is_none_is_refused_before_anything_is_sent(
    airflow: FakeAirflow, line: Line, tradu: Tradu, guide: str
) -> None:
    result = tradu("translate", guide, "--to", "portuguese")
    assert result.exit_code == 2
    assert "not a language code" in result.stderr
    assert not airflow.confs
    assert not Path(line.store.root, "uploads").exists()


def test_no_stack_is_3(home: Path, tradu: Tradu, guide: str) -> None:
    result = tradu("translate", guide, "--to", "pt")
    assert result.exit_code == 3
    assert "tradu up" in result.stderr


def test_without_a_terminal_it_does_not_wait(line: Line, airflow: FakeAirflow, tradu: Tradu, guide: str) -> None:
    data = json.loads(tradu("translate", guide, "--to", "pt", "--key", "mine", "--json").stdout)
    assert data["idempotency_key"] == "mine"
    assert data["run_id"] in airflow.runs
    assert not airflow.confs[0]["documents"][0].endswith("/mine/")  # its folder is named by what is in it


def test_uris_are_handed_on_and_never_taken_for_done(line: Line, airflow: FakeAirflow, tradu: Tradu) -> None:
    for _ in range(2):
        assert tradu("translate", "s3://bucket/in/", "--to", "pt", "--no-wait").exit_code == 0
    assert [conf["documents"] for conf in airflow.confs] == [["s3://bucket/in/"]] * 2
    assert airflow.confs[0]["idempotency_key"] != airflow.confs[1]["idempotency_key"]


def test_a_job_that_is_at_work_is_joined(line: Line, airflow: FakeAirflow, tradu: Tradu, guide: str) -> None:
    request = prepare([guide], Wishes(["pt"]), get_settings(), Output())
    airflow.runs["first"] = "running"
    line.admit(request.idempotency_key, "first", options=request.options, documents=request.documents)
    result = tradu("translate", guide, "--to", "pt", "--wait")
    assert not airflow.confs
    assert "at work on this already" in result.stderr
    assert result.exit_code == 1  # the run ended and left the job open


def test_interrupting_says_how_to_go_on(
    line: Line,
    airflow: FakeAirflow,
    guide: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tradu.cli.airflow import connect

    client = connect(get_settings())
    request = prepare([guide], Wishes(["pt"]), get_settings(), Output())
    airflow.on_trigger = lambda conf: (jobs.admit(request, conf["run_id"], line.ledger), None)[1]
    run_id = start(client, line.ledger, request, Output())

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "stages", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finish(client, line.ledger, request, run_id, Output())
    said = capsys.readouterr().err
    assert f"tradu cancel {_job(line).job_id}" in said


def test_the_conf_is_what_the_ledger_admits(line: Line, guide: str) -> None:
    request = prepare([guide], Wishes(["pt", "es"], columns=["a"]), get_settings(), Output())
    assert jobs.JobRequest(**conf_of(request)) == request
