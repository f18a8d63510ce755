"""Requests through a real Airflow: by REST as the docs say it, by the command line, again, and cancelled."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from fixtures.stack import Stack, until
from tradu import layout
from tradu.cli.watch import DAG, find_job
from tradu.inference.apertium_files import find
from tradu.ledger.rows import Job

MARKER = "Wollongbar"
GUIDE = f"""# The observatory of {MARKER}

The telescope was built in 1962 and weighs 4.5 tonnes. Visitors may use it on **Friday evenings**.

- Bring warm clothes, because the dome is not heated.
- Read the rules at <https://example.org/rules> before you come.
"""
LETTER = "Dear neighbours,\n\nThe library opens at nine in the morning and closes at five in the afternoon.\n"
GATES = ("documents", "blocks", "translations", "output")
KEY = "handbook-2026-11"
CANCEL_SECONDS = 10.0
pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


@dataclass(frozen=True)
class Done:
    """The run that most tests here look at."""

    run_id: str
    conf: dict[str, Any]
    job: Job


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[httpx.Client]:
    """A client that is not signed in."""
    with httpx.Client(base_url=stack.settings.api_url, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def bearer(stack: Stack, http: httpx.Client) -> dict[str, str]:
    """The header that the docs' first call gives."""
    reply = http.post("/auth/token", json={"username": "admin", "password": stack.password})
    assert reply.status_code == 201, reply.text
    return {"Authorization": f"Bearer {reply.json()['access_token']}"}


@pytest.fixture(scope="module")
def done(stack: Stack, http: httpx.Client, bearer: dict[str, str]) -> Done:
    """A run triggered and followed with the calls of docs/how-to/trigger.md."""
    folder = stack.put({"handbook/guide.md": GUIDE, "handbook/letters/hours.txt": LETTER}, "documents") / "handbook"
    conf = {
        "documents": [folder.as_uri()],
        "targets": ["pt"],
        "source": "en",
        "profile": "balanced",
        "idempotency_key": KEY,
    }
    reply = http.post(f"/api/v2/dags/{DAG}/dagRuns", headers=bearer, json={"logical_date": None, "conf": conf})
    assert reply.status_code == 200, reply.text
    run = f"/api/v2/dags/{DAG}/dagRuns/{reply.json()['dag_run_id']}"
    until("the run to end", lambda: http.get(run, headers=bearer).json()["state"] in ("success", "failed"))
    assert http.get(run, headers=bearer).json()["state"] == "success"
    return Done(reply.json()["dag_run_id"], conf, stack.job(KEY))


def test_rest_translates_a_folder(stack: Stack, done: Done) -> None:
    job = str(done.job.job_id)
    assert done.job.state == "COMPLETED", stack.line.errors(job)
    guide = stack.line.output(job, "handbook/guide.md").decode()
    assert f"observatório de {MARKER}".lower() in guide.lower()
    assert "<https://example.org/rules>" in guide
    assert "biblioteca" in stack.line.output(job, "handbook/letters/hours.txt").decode()

    manifest = json.loads(stack.line.store.get(layout.manifest_key(done.job.job_id)))
    assert manifest["state"] == "COMPLETED"
    assert {path for d in manifest["documents"] for path in d["paths"]} == {
        "handbook/guide.md",
        "handbook/letters/hours.txt",
    }
    outputs = [output for document in manifest["documents"] for output in document["outputs"]]
    assert [o["target"] for o in outputs] == ["pt", "pt"]
    assert all(o["segments"] == o["translated"] > 0 and o["sha256"] for o in outputs)


def test_nobody_gets_in_without_a_token(http: httpx.Client) -> None:
    body = {"logical_date": None, "conf": {}}
    assert http.post(f"/api/v2/dags/{DAG}/dagRuns", json=body).status_code == 401
    assert http.get(f"/api/v2/dags/{DAG}/dagRuns").status_code == 401
    wrong = http.post("/auth/token", json={"username": "admin", "password": "wrong"})
    assert wrong.status_code == 401


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("targets", []),
        ("targets", ["Portuguese!"]),
        ("profile", "cheap"),
        ("documents", "one.txt"),
        ("tenant", "../other"),
        ("options", {"colour": "red"}),
    ],
)
def test_a_wrong_conf_is_refused_by_name(stack: Stack, bearer: dict[str, str], field: str, value: object) -> None:
    runs = stack.runs()
    with httpx.Client(base_url=stack.settings.api_url, trust_env=False, timeout=30) as client:
        body = {"logical_date": None, "conf": {field: value}}
        reply = client.post(f"/api/v2/dags/{DAG}/dagRuns", headers=bearer, json=body)
    assert reply.status_code == 400, reply.text
    assert field in reply.text
    assert stack.runs() == runs


def test_the_same_key_again_does_nothing_again(stack: Stack, done: Done) -> None:
    before = stack.line.blocks(str(done.job.job_id))
    run_id = stack.api.trigger(DAG, done.conf)
    assert stack.ended(run_id) == "success"
    assert stack.line.blocks(str(done.job.job_id)) == before
    states = {t.task_id: t.state for t in stack.api.task_instances(DAG, run_id)}
    assert states.pop("admit") == "success"
    assert set(states.values()) == {"skipped"}


@pytest.mark.parametrize("gate", GATES)
def test_data_docs_are_linked_for_the_signed_in(
    stack: Stack, done: Done, http: httpx.Client, bearer: dict[str, str], gate: str
) -> None:
    path = f"/dags/{DAG}/dagRuns/{done.run_id}/taskInstances/gate_{gate}/links"
    links = stack.api.call("GET", path)["extra_links"]
    address = links["Data Docs"]
    assert address == f"/tradu/gates/{done.job.job_id}/{gate}/index.html"

    assert http.get(address).status_code in (401, 403)
    assert http.get(address, headers={"Authorization": "Bearer nonsense"}).status_code in (401, 403)
    token = bearer["Authorization"].removeprefix("Bearer ")
    for signed_in in (bearer, {"Cookie": f"_token={token}"}):
        page = http.get(address, headers=signed_in)
        assert page.status_code == 200
        assert gate in page.text
        assert "passed" in page.text


def _english(folder: Path) -> Path:
    """Two documents that no other test has, in two levels of a folder."""
    (folder / "deep").mkdir(parents=True)
    (folder / "harbour.txt").write_text("The harbour was closed because of the storm.\n")
    (folder / "deep" / "ticket.jsonl").write_text('{"id": 7, "title": "The pump makes a strange noise"}\n')
    return folder


@pytest.mark.apertium
def test_the_command_line_brings_the_same_tree_for_each_language(stack: Stack, tmp_path: Path) -> None:
    if find(stack.settings.home, "eng-spa") is None:
        pytest.skip("Apertium is not installed: `tradu setup` says how")
    source = _english(tmp_path / "papers")
    words = ("--from", "en", "--to", "pt,es", "--wait", "--out", str(tmp_path / "out"), "--json")
    ended = stack.tradu("translate", str(source), *words)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["job"]["state"] == "COMPLETED"
    wanted = {f"papers/{p.relative_to(source)}" for p in source.rglob("*") if p.is_file()}
    for language, word in (("pt", "porto"), ("es", "puerto")):
        tree = tmp_path / "out" / language
        assert {str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file()} == wanted
        assert word in (tree / "papers" / "harbour.txt").read_text().lower()
        assert json.loads((tree / "papers" / "deep" / "ticket.jsonl").read_text())["id"] == 7


def test_a_partial_job_ends_with_exit_code_1(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("The bridge will be repaired next summer.\n")
    (tmp_path / "bad.jsonl").write_text('{"title": "The door is open"}\n{"title": \n')
    ended = stack.tradu("translate", str(tmp_path), "--from", "en", "--to", "pt", "--wait", "--json")
    assert ended.returncode == 1, ended.stderr
    report = json.loads(ended.stdout)
    assert report["job"]["state"] == "PARTIAL"
    states = {Path(d["paths"][0]).name: d["state"] for d in report["documents"]}
    assert states == {"good.txt": "COMPLETED", "bad.jsonl": "ERROR"}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("no-such-file.txt", "--to", "pt"), "no-such-file.txt"),
        ((__file__, "--to", "Portuguese!"), "Portuguese!"),
        ((__file__, "--from", "en", "--to", "zu"), "zu"),
    ],
)
def test_a_refused_request_ends_with_exit_code_2(stack: Stack, words: tuple[str, ...], why: str) -> None:
    ended = stack.tradu("translate", *words, "--wait")
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert why in ended.stderr


def _worker_seconds(stack: Stack) -> float:
    """CPU time that the workers and their children have used."""
    total = 0.0
    for service in json.loads(stack.tradu("status", "--json").stdout):
        if service["name"].startswith("dask-worker"):
            worker = psutil.Process(service["pid"])
            times = [p.cpu_times() for p in (worker, *worker.children(recursive=True))]
            total += sum(t.user + t.system for t in times)
    return total


def _workers_rest(stack: Stack) -> bool:
    """Whether the workers use less than a tenth of a core."""
    begun, before = time.monotonic(), _worker_seconds(stack)
    time.sleep(1)  # the interval that is measured
    return (_worker_seconds(stack) - before) / (time.monotonic() - begun) < 0.1


def test_cancel_stops_a_job_in_seconds(stack: Stack) -> None:
    from pydoc_data.topics import topics

    text = "\n\n".join(topics.values())
    folder = stack.put({"long/topics.txt": text}, "documents") / "long"
    conf = {"documents": [folder.as_uri()], "targets": ["pt"], "source": "en", "idempotency_key": "long"}
    run_id = stack.api.trigger(DAG, conf)
    job_id = str(until("the job", lambda: find_job(stack.line.ledger, "default", "long")).job_id)
    until("a first batch", lambda: any(b.result for b in stack.line.blocks(job_id)))

    begun = time.monotonic()
    ended = stack.tradu("cancel", job_id, "--json")
    took = time.monotonic() - begun
    assert ended.returncode == 0, ended.stderr
    assert took < CANCEL_SECONDS
    answer = json.loads(ended.stdout)
    assert answer["state"] == "CANCELED"
    assert answer["blocks_canceled"] > 0, "the job was over before it was cancelled"
    assert answer["run_stopped"] is True
    assert {b.state for b in stack.line.blocks(job_id)} <= {"CANCELED", "COMPLETED"}

    until("the workers to rest", lambda: _workers_rest(stack), CANCEL_SECONDS - (time.monotonic() - begun))
    print(f"cancel answered after {took:.1f} s, the workers rest after {time.monotonic() - begun:.1f} s")
    assert stack.ended(run_id, seconds=30) == "failed"
    until("its tasks to end", lambda: _no_task_lives(stack, run_id), 30)
    assert stack.job("long").state == "CANCELED"
    assert {b.state for b in stack.line.blocks(job_id)} <= {"CANCELED", "COMPLETED"}


def _no_task_lives(stack: Stack, run_id: str) -> bool:
    alive = ("running", "deferred", "queued", "scheduled", "up_for_retry", "restarting")
    return all(t.state not in alive for t in stack.api.task_instances(DAG, run_id))


def test_deferral_never_costs_an_attempt(stack: Stack, done: Done) -> None:
    well = [run for run, state in stack.runs().items() if state == "success"]
    assert done.run_id in well
    instances = [i for run in well for i in stack.instances(run, "infer") if i.state != "skipped"]
    assert instances
    assert {(i.state, i.attempt) for i in instances} == {("success", 1)}


def test_xcom_carries_no_text(stack: Stack, done: Done) -> None:
    values = {name: json.dumps(value) for name, value in stack.xcoms(done.run_id).items()}
    assert {task for task, _, _ in values} >= {"admit", "partition", "gate_blocks", "publish"}
    assert max(map(len, values.values())) < 2_000
    assert not [name for name, value in values.items() if MARKER.lower() in value.lower()]
