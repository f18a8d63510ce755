"""The DAGs of archival, task by task on a real ledger: groups, reports, scrub, and the commands."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from fixtures.archive import Shelf
from tradu import layout
from tradu.archival import archive, catalogue, run, scrub
from tradu.archival.context import held
from tradu.archival.policy import MOST_GROUPS, Act, Residence, load_policy
from tradu.cli.main import app
from tradu.errors import RequestError
from tradu.ledger import jobs, rollouts
from tradu.ledger.rollouts import Evidence, RolloutState, Side
from tradu.settings import get_settings

REPOSITORY = Path(__file__).resolve().parents[3]
ALL = {"job_id": None}
FILES = {"a.txt": "The harbour was closed because of the storm. Nobody knew for how long.\n"}


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The functions of a DAG's tasks, by name."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))

    def of(name: str) -> dict[str, Any]:
        spec = importlib.util.spec_from_file_location(name, REPOSITORY / "dags" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        dag = getattr(module, name)()
        found = {}
        for task in dag.tasks:
            partial = getattr(task, "partial_kwargs", {})
            found[task.task_id] = getattr(task, "python_callable", None) or partial.get("python_callable")
        return found

    return of


def test_the_archive_from_plan_to_report(shelf: Shelf, tasks: Any) -> None:
    old = [shelf.make(FILES, f"old {n}") for n in range(3)]
    young = shelf.make(FILES, "young")
    for job in old:
        shelf.age(job, 100)
    dag = tasks("tradu_archive")
    groups = dag["plan"](ALL)
    assert groups == [[n, 3] for n in range(3)]
    done = [dag["archive"](group, ALL) for group in groups]
    assert [dag["archive"](group, ALL) for group in groups] == [{"freed_bytes": 0, "taken_bytes": 0}] * 3  # once more
    assert sum(counts.get("archive", 0) for counts in done) == 3
    told = dag["report"](done)
    assert told["done"]["archive"] == 3
    assert told["saved_a_month"] > 0
    assert {t["tier"]: t["jobs"] for t in told["tiers"]} == {"hot": 1, "warm": 3, "cold": 0}
    assert json.dumps(told)
    assert dag["plan"](ALL) == []
    assert dag["report"](None)["done"] == {}
    assert jobs.find(young, shelf.ledger).residence == "hot"
    asked = {"job_id": str(young)}
    assert dag["plan"](asked) == [[0, 1]]
    assert [dag["archive"]([0, 1], asked).get("archive", 0) for _ in range(2)] == [1, 0]
    assert jobs.find(young, shelf.ledger).residence == "warm"
    run.restore_jobs([str(young)])

    back = tasks("tradu_restore")
    today = datetime.now(UTC).date()
    nothing = {"job_id": None, "document_id": None, "since": None, "until": None}
    document = shelf.rows(young)["documents"][0][1]
    assert back["plan"]({**nothing, "job_id": str(old[0])}) == [[str(old[0])]]
    assert sorted(back["plan"]({**nothing, "document_id": document})) == sorted([str(j)] for j in old)
    chosen = back["plan"]({**nothing, "since": str(today - timedelta(1)), "until": str(today + timedelta(1))})
    assert len(chosen) == 3
    with pytest.raises(Exception, match="no archived job fits"):
        back["plan"]({**nothing, "until": str(today - timedelta(1))})
    with pytest.raises(Exception, match="say which"):
        back["plan"](nothing)
    assert [back["restore"](group) for group in chosen] == [1, 1, 1]
    assert [back["restore"](group) for group in chosen] == [0, 0, 0]
    assert dag["plan"](ALL) == []  # their age counts from the restore


def test_there_are_never_more_groups_than_tasks_may_be(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "due_now", lambda *_: [None] * 1_000)
    assert len(run.plan(run.ARCHIVING)) == MOST_GROUPS


def test_the_purge_by_policy_and_on_request(shelf: Shelf, tasks: Any) -> None:
    (shelf.folder / "retention.yaml").write_text("purge_after_days: 365\n")
    dag, asked = tasks("tradu_purge"), {"document_id": None, "tenant": None}
    old, other = shelf.make(FILES, "old"), shelf.make({"b.txt": "The library opens at nine.\n"}, "other", "acme")
    shelf.age(old, 400)
    run.run_now(run.ARCHIVING, "test")
    assert dag["archives"](asked) == []
    assert dag["erase"](asked) == {}
    assert dag["plan"]({}) == [[0, 1]]
    assert dag["purge"]([0, 1])["purge"] == 1
    assert dag["erase"]({**asked, "tenant": "acme"})["jobs"] == 1
    with pytest.raises(Exception, match="either a document or a tenant"):
        dag["erase"]({"document_id": "0" * 64, "tenant": "acme"})
    assert {jobs.find(job, shelf.ledger).residence for job in (old, other)} == {"purged"}


def test_the_scrub_looks_at_all_in_turn_and_finds_damage(shelf: Shelf, tasks: Any) -> None:
    (shelf.folder / "retention.yaml").write_text("scrub_objects: 2\n")
    made = [shelf.make(FILES, f"old {n}") for n in range(3)]
    for job in made:
        shelf.age(job, 100)
    run.run_now(run.ARCHIVING, "test")
    dag = tasks("tradu_scrub")
    assert [dag["scrub"]()["archives"] for _ in range(3)] == [2, 2, 2]
    with shelf.ledger.transaction() as tx:
        assert all(a.scrubbed_at for a in catalogue.archives(tx, None, 10))
    path = Path(shelf.store.path(layout.pack_key(made[1], 0)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    Path(shelf.store.path(layout.archive_key(made[2]))).unlink()
    found = [scrub.scrub_sample().damaged for _ in range(3)]
    assert {problem.split()[0] for problems in found for problem in problems} == {
        layout.pack_key(made[1], 0), layout.archive_key(made[2])
    }  # fmt: skip
    kinds = [row[2] for job in made for row in shelf.rows(job)["incidents"]]
    assert kinds == ["archive_damaged"] * 2
    dag["tell"]({"damaged": 0})
    with pytest.raises(RuntimeError, match="2 archived objects are damaged"):
        dag["tell"]({"damaged": 2})


def test_a_job_of_an_undecided_rollout_stays(shelf: Shelf, tasks: Any) -> None:
    (shelf.folder / "retention.yaml").write_text("purge_after_days: 400\n")
    job, other = shelf.make(FILES), shelf.make({"b.txt": "It closes at five.\n"}, "other")
    with shelf.ledger.transaction() as tx:
        rollouts.start(tx, "old@1", "new@1", [0.5, 1.0], {})
        (rollout,) = rollouts.in_effect(tx)
        rollouts.add_evidence(tx, job, rollout, {Side.CONTROL: Evidence(blocks=1)})
    for one in (job, other):
        shelf.age(one, 1_000)
    assert run.run_now(frozenset(Act), "test").jobs == {"archive": 1}
    for words in (("run",), ("purge", "--yes")):
        refused = CliRunner().invoke(app, ["archive", *words, str(job)])
        assert (refused.exit_code, "is part of rollout 1, which is not decided" in refused.output) == (2, True)
    with pytest.raises(Exception, match="rollout 1"):
        tasks("tradu_archive")["plan"]({"job_id": str(job)})
    with pytest.raises(RequestError, match="rollout 1"), held(job) as ours:
        archive.archive(ours, Residence.WARM, load_policy(get_settings()), "test")
    (kept,) = json.loads(tradu("list", "--kept", "--json"))
    assert (kept["job_id"], kept["rollout"]) == (str(job), 1)
    assert "tradu rollout status 1" in tradu("list", "--kept")
    assert {t["tier"]: t["kept"] for t in json.loads(tradu("report", "--json"))} == {"hot": 1, "warm": 0, "cold": 0}
    assert "1 stay where they are" in tradu("report")
    with shelf.ledger.transaction() as tx:
        assert rollouts.end(tx, rollout, RolloutState.ROLLED_BACK, "failures")
    assert json.loads(tradu("list", "--kept", "--json")) == []
    assert run.run_now(run.ARCHIVING, "test").jobs == {"archive": 1}


def tradu(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["archive", *words], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def test_the_commands(shelf: Shelf) -> None:
    job, other = shelf.make(FILES), shelf.make({"b.txt": "It closes at five.\n"}, "other")
    shelf.age(job, 100)
    assert [d["job_id"] for d in json.loads(tradu("run", "--dry-run", "--json"))] == [str(job)]
    tradu("hold", str(job))
    assert json.loads(tradu("run", "--dry-run", "--json")) == []
    tradu("release", str(job))
    assert "1 jobs" in tradu("run")
    assert "whole" in tradu("verify", str(job))
    refused = CliRunner().invoke(app, ["verify", str(job)])
    assert (refused.exit_code, f"tradu archive verify {job}" in refused.output) == (2, True)
    (listed,) = json.loads(tradu("list", "--json"))
    assert (listed["job_id"], listed["residence"]) == (str(job), "warm")
    assert listed["cold_bytes"] > 0
    assert {t["tier"] for t in json.loads(tradu("report", "--json"))} == {"hot", "warm", "cold"}
    tradu("run", str(other))
    assert json.loads(tradu("restore", str(job), "--json"))["restored"] == [str(job)]
    Path(shelf.store.path(layout.pack_key(other, 0))).unlink()
    tradu("verify", str(other), code=1)
    tradu("purge", str(other), "--yes")
    tradu("purge", "--document", shelf.rows(job)["documents"][0][1], "--yes")
    assert jobs.find(other, shelf.ledger).residence == "purged"
    assert shelf.rows(job)["documents"] == []
    (document, gone) = json.loads(tradu("certificates", "--json"))
    assert (document["kind"], gone["kind"]) == ("document", "job")
    assert UUID(str(job)).hex not in json.dumps([document, gone])
    assert get_settings().home == shelf.folder
