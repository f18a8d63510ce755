"""What the commands are tested against: a real ledger, a store in a folder, a server that speaks Airflow's API."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

from tradu import layout
from tradu.cli.main import app
from tradu.ledger import blocks as ledger_blocks
from tradu.ledger import jobs
from tradu.ledger.blocks import NewBatch, NewBlock
from tradu.ledger.connection import Ledger, get_ledger
from tradu.ledger.rows import Claim
from tradu.settings import get_settings
from tradu.store import Store

PASSWORD = "correct horse"
DOCUMENT = "d" * 64


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TRADU_HOME of its own, and nothing of the caller's settings."""
    monkeypatch.setenv("TRADU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRADU_STORE_URL", (tmp_path / "store").as_uri())
    monkeypatch.setenv("TRADU_API_PASSWORD", PASSWORD)
    monkeypatch.setenv("TRADU_API_URL", "http://127.0.0.1:1")
    monkeypatch.delenv("TRADU_LEDGER_URL", raising=False)
    return tmp_path / "home"


@pytest.fixture
def ledger(home: Path, ledger_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """The ledger that the commands use."""
    monkeypatch.setenv("TRADU_LEDGER_URL", ledger_database)
    opened = get_ledger("cli")
    yield opened
    opened.close()


@pytest.fixture
def store(home: Path) -> Store:
    """The store that the commands use."""
    made = Store(get_settings().store)
    made.create()
    return made


@dataclass
class Line:
    """Does to a job what the stages do, by the ledger's own queries."""

    ledger: Ledger
    store: Store

    def admit(self, key: str = "key", run_id: str = "run-1", **wishes: Any) -> UUID:
        request = jobs.JobRequest(**{"documents": ["uploads/x/"], "targets": ["pt"], "idempotency_key": key} | wishes)
        return jobs.admit(request, run_id, self.ledger).job_id

    def partition(self, job: UUID, count: int = 3, path: str = "docs/guide.md", target: str = "pt") -> None:
        with self.ledger.transaction() as tx:
            tx.run(
                "register_document",
                job_id=job,
                document_id=DOCUMENT,
                paths=[path],
                origin=f"file:///{path}",
                format="markdown",
                source="en",
                language_confidence=0.99,
                size_bytes=1_000,
                error=None,
            )
            numbers = range(count)
            batches = [NewBatch(n, "en", target, "blocks/part", n, 100) for n in numbers]
            ledger_blocks.add(tx, job, batches, [NewBlock(DOCUMENT, target, n, n, 2, 100) for n in numbers])
            tx.run("move_documents", job_id=job, state="PARTITIONED", from_states=["REGISTERED"])
            tx.run("move_documents", job_id=job, state="TRANSLATING", from_states=["PARTITIONED"])
            tx.run("set_estimate", job_id=job, cost=0.25)

    def translate(self, job: UUID, batches: Sequence[int]) -> None:
        for batch in batches:
            with self.ledger.transaction() as tx:
                claims = tx.rows("claim", Claim, job_id=job, batch=batch, lease_seconds=60, again=False, max_attempts=3)
                size = len(claims)
                tx.run(
                    "finish",
                    job_id=job,
                    processing_at=datetime.now(UTC),
                    result=f"results/{batch}",
                    block_ids=[c.block_id for c in claims],
                    tokens=[c.token for c in claims],
                    models=["firefox-en-pt"] * size,
                    tiers=["standard"] * size,
                    scores=[0.9] * size,
                    seconds=[1.5] * size,
                    costs=[0.125] * size,
                    reasons=[""] * size,
                )

    def accept(self, job: UUID) -> None:
        with self.ledger.transaction() as tx:
            tx.run("accept", job_id=job)

    def quarantine(self, job: UUID, number: int, reason: str, target: str = "pt") -> None:
        from tradu.ledger import ids

        block = ids.block_id(job, DOCUMENT, target, number)
        with self.ledger.transaction() as tx:
            tx.run("quarantine", job_id=job, block_ids=[block], reasons=[reason], error_class="model")

    def publish(self, job: UUID, state: str, path: str = "docs/guide.md", target: str = "pt", left: int = 0) -> None:
        with self.ledger.transaction() as tx:
            tx.run("move_documents", job_id=job, state="ASSEMBLING", from_states=["TRANSLATING"])
            tx.run(
                "write_output",
                job_id=job,
                document_id=DOCUMENT,
                target=target,
                size_bytes=9,
                sha256="0" * 64,
                units_in=3,
                units_out=3,
                segments=6,
                translated=6 - left,
                untranslated=left,
            )
            tx.run("end_document", job_id=job, document_id=DOCUMENT, state=state, reason=None)
            tx.run("end_job", job_id=job, state=state, reason=None)
        self.store.put(layout.output_key(job, target, path), b"Um texto.")

    def whole(self, state: str = "COMPLETED", key: str = "key", **wishes: Any) -> UUID:
        """A job from its request to its end; one block of three is quarantined unless it is COMPLETED."""
        job = self.admit(key, **wishes)
        self.partition(job)
        self.translate(job, [0, 1, 2])
        if state != "COMPLETED":
            self.quarantine(job, 2, "numbers: 10 is missing")
        self.accept(job)
        self.publish(job, state, left=0 if state == "COMPLETED" else 2)
        return job


@pytest.fixture
def line(ledger: Ledger, store: Store) -> Line:
    """The stages' work on the ledger."""
    return Line(ledger, store)


@dataclass
class FakeAirflow:
    """The routes of Airflow's API that the client calls. `on_trigger` works on the run it is given."""

    url: str = ""
    token_calls: int = 4
    """A token is good for so many calls."""
    unknown_for: int = 0
    """So many times the DAG is not known yet."""
    paused: bool = False
    refuse: str = ""
    on_trigger: Callable[[dict[str, Any]], None] = lambda conf: None
    runs: dict[str, str] = field(default_factory=dict)
    confs: list[dict[str, Any]] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    tokens: dict[str, int] = field(default_factory=dict)
    next_state: str = "success"

    def answer(  # noqa: PLR0911 - one return a route
        self, method: str, path: str, query: dict[str, list[str]], body: Any
    ) -> tuple[int, Any]:
        parts = [unquote(p) for p in path.split("/")[3:]]
        match method, parts:
            case "GET", ["dags", dag]:
                self.unknown_for -= 1
                return (
                    (404, {"detail": f"no DAG {dag}"}) if self.unknown_for >= 0 else (200, {"is_paused": self.paused})
                )
            case "GET", ["dags", _, "tasks"]:
                return 200, {"tasks": [_task("ingest", ["infer"]), _task("infer", []), _task("admit", ["ingest"])]}
            case "POST", ["dags", _, "dagRuns"]:
                return self._trigger(body)
            case "GET", ["dags", _, "dagRuns", run_id]:
                if run_id not in self.runs:
                    return 404, {"detail": "no run"}
                state = self.runs[run_id]
                return 200, {"dag_run_id": run_id, "state": state, "start_date": _at(0), "end_date": None}
            case "PATCH", ["dags", _, "dagRuns", run_id]:
                self.runs[run_id] = body["state"]
                return 200, {"dag_run_id": run_id}
            case "GET", ["dags", _, "dagRuns", run_id, "taskInstances"]:
                offset, limit = int(query["offset"][0]), int(query["limit"][0])
                if self.runs.get(run_id) == "running":
                    self.runs[run_id] = self.next_state
                page = self.instances[offset : offset + limit]
                return 200, {"task_instances": page, "total_entries": len(self.instances)}
            case "GET", ["dags", _, "dagRuns", _, "taskInstances", _, "logs", _]:
                return 200, {"content": self.log, "continuation_token": None}
        return 404, {"detail": f"no route {method} {path}"}

    def _trigger(self, body: dict[str, Any]) -> tuple[int, Any]:
        if self.refuse:
            return 400, {"detail": self.refuse}
        assert body["logical_date"] is None
        self.confs.append(body["conf"])
        run_id = f"manual__{len(self.confs)}+00:00"
        self.runs[run_id] = "running"
        self.on_trigger(body["conf"] | {"run_id": run_id})
        return 200, {"dag_run_id": run_id}

    def sign_in(self, body: dict[str, str]) -> tuple[int, Any]:
        if body["password"] != PASSWORD:
            return 401, {"detail": "Invalid credentials"}
        token = f"token-{len(self.tokens)}"
        self.tokens[token] = self.token_calls
        return 201, {"access_token": token}

    def authorised(self, header: str) -> bool:
        token = header.removeprefix("Bearer ")
        self.tokens[token] = self.tokens.get(token, 0) - 1
        return self.tokens[token] >= 0

    def ran(self, *tasks: tuple[str, str, int]) -> None:
        """Let tasks have run: (task, state, map index), one second each."""
        self.instances = [
            {
                "task_id": t,
                "map_index": i,
                "state": s,
                "start_date": _at(n),
                "end_date": _at(n + 1),
                "try_number": 1,
            }
            for n, (t, s, i) in enumerate(tasks)
        ]


def _task(name: str, after: list[str]) -> dict[str, Any]:
    return {"task_id": name, "downstream_task_ids": after}


def _at(second: int) -> str:
    return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")


@pytest.fixture
def airflow(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAirflow]:
    """The server, which the commands take for Airflow."""
    fake = FakeAirflow()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
            if parts.path == "/auth/token":
                status, reply = fake.sign_in(body)
            elif not fake.authorised(self.headers.get("Authorization", "")):
                status, reply = 401, {"detail": "token expired"}
            else:
                status, reply = fake.answer(self.command, parts.path, parse_qs(parts.query), body)
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = _serve  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("TRADU_API_URL", fake.url)
    monkeypatch.setattr("tradu.cli.watch.POLL_SECONDS", 0.01)
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def tradu() -> Callable[..., Result]:
    """Runs a command line; stdout and stderr apart."""

    def run(*words: str) -> Result:
        result = CliRunner().invoke(app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run
