"""A batch that nobody waits for any more: its worker gives it up in seconds, and nothing is the worse for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import UUID

import psutil
import psycopg
import pytest

from fixtures import chat
from fixtures import ledger as work
from fixtures.line import Line
from fixtures.wait import until
from tradu.cluster import batch, segments
from tradu.cluster.heartbeat import Heartbeat, Held, beat
from tradu.cluster.report import Report
from tradu.inference import pool
from tradu.inference.engines import openai
from tradu.inference.engines._neural import NeuralEngine
from tradu.inference.engines._sequences import Batched, Row
from tradu.inference.model import Model
from tradu.inference.pool import EnginePool
from tradu.ledger import jobs
from tradu.ledger.cancel import cancel
from tradu.ledger.circuits import Circuit
from tradu.ledger.rows import Claim, Incident, Spending

SENTENCES, SECONDS_EACH = 300, 1.0
"""Five minutes of work."""
SOON = 30.0
"""Much less, and much more than a worker needs to notice, however slow the machine is."""
AT_ONCE = 2
RETRY = 503, {"retry-after": "1"}, b"{}"


class Slow:
    """A model that takes its time for each sentence."""

    shareable = False

    def __init__(self) -> None:
        self.begun = 0

    def rows(self, texts: Sequence[str]) -> list[Row]:
        return [text.split() for text in texts]

    def translate(self, rows: Sequence[Row], limit: int) -> list[tuple[str, Sequence[float]]]:
        self.begun += len(rows)
        time.sleep(SECONDS_EACH * len(rows))
        return [("O porto esteve fechado todo o inverno.", [-0.1] * 8) for _ in rows]

    def score(self, rows: Sequence[Row], translations: Sequence[str]) -> list[Sequence[float]]:
        return [() for _ in rows]


@pytest.fixture
def beating(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heartbeat]:
    """This process is a worker with a heartbeat."""
    monkeypatch.setenv("TRADU_LEASE_SECONDS", "1")
    monkeypatch.setattr(segments, "_engines", EnginePool())
    beating = Heartbeat("worker-test")
    monkeypatch.setattr(batch, "heartbeat", beating)
    yield beating
    beating.close()


@pytest.fixture
def job(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TRADU_MAX_BLOCK_CHARS", "2000")
    text = "".join(f"The harbour of town {n} was closed for the whole of the winter.\n\n" for n in range(SENTENCES))
    the_line.put({"a.txt": text})
    job = the_line.admit(source="en")
    the_line.prepare(job)
    assert len(the_line.blocks(job)) > 1
    return job


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as thread:
        yield thread


def cancelled(the_line: Line, job: str) -> int:
    return cancel(the_line.ledger, jobs.find(UUID(job), the_line.ledger))


def gives_up(done: Future[Report]) -> Report:
    """What the worker's thread says as soon as it is free."""
    begun = time.monotonic()
    report = done.result(timeout=SOON)
    print(f"free after {time.monotonic() - begun:.1f} s")
    return report


def nothing_is_the_worse(the_line: Line, job: str) -> None:
    """All blocks are cancelled, untouched by the attempt, and no model or incident bears witness of it."""
    assert the_line.job(job).state == "CANCELED"
    assert {(b.state, b.error_class, b.result) for b in the_line.blocks(job)} == {("CANCELED", None, None)}
    assert the_line.errors(job) == []
    with the_line.ledger.transaction() as tx:
        assert tx.connection.execute("SELECT name, failures FROM circuits WHERE failures > 0").fetchall() == []
        assert tx.rows("open_circuits", Circuit) == []
        assert tx.rows("incidents", Incident, job_id=None, limit=100) == []
        assert tx.connection.execute(
            "SELECT count(*) FROM history WHERE to_state = 'PENDING' AND from_state <> ''"
        ).fetchone() == (0,)
        (spent,) = tx.rows("spending", Spending, job_id=UUID(job))
    assert spent.seconds > 0, "what the work has cost is on the job's account"


@pytest.mark.parametrize("killed", [False, True])
def test_a_slow_model_is_stopped(
    the_line: Line,
    job: str,
    beating: Heartbeat,
    worker: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    killed: bool,
) -> None:
    model = Slow()
    monkeypatch.setattr(pool, "_load", lambda _model: NeuralEngine("en", None, Batched(model, 1, padded=False)))
    done = worker.submit(batch.run_batch, job, 0)
    until(lambda: model.begun > 1)
    if killed:
        psutil.Process(beating._process.pid).kill()
    assert cancelled(the_line, job) > 0
    report = gives_up(done)
    assert model.begun < SENTENCES
    assert (report.accepted, report.failed, report.gone) == (0, 0, True)
    nothing_is_the_worse(the_line, job)
    assert segments.engines().noted() == {}, "the next attempt would answer for it"


@pytest.mark.parametrize("answers", [False, True])
def test_a_server_is_asked_nothing_more(
    the_line: Line,
    job: str,
    beating: Heartbeat,
    worker: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    answers: bool,
) -> None:
    """Neither where it lets us wait for an answer, nor where it asks us to come again."""
    over = threading.Event()

    def harm(_number: int, _body: bytes) -> tuple[int, dict[str, str], bytes]:
        if not answers:
            over.wait(120)
        return RETRY

    proxy = chat.Proxy("", harm)
    with proxy.run() as url:
        options = {"url": url, "model": "m", "structured": "no", "log_probabilities": "no", "timeout": "120"}
        options["concurrency"] = str(AT_ONCE)
        server = Model("llm", "1", "openai", "premium", "en", "pt", "none", 1, 1.0, options)
        monkeypatch.setattr(pool, "_load", lambda _model: openai.load(server))
        done = worker.submit(batch.run_batch, job, 0)
        until(lambda: len(proxy.seen) >= (3 * AT_ONCE if answers else AT_ONCE))
        assert cancelled(the_line, job) > 0
        report = gives_up(done)
        time.sleep(1)  # what was on its way arrives
        asked = len(proxy.seen)
        over.set()
        time.sleep(3)  # longer than the server has asked to wait
        assert (len(proxy.seen), proxy.inside) == (asked, 0)
    assert (report.accepted, report.failed, report.gone) == (0, 0, True)
    nothing_is_the_worse(the_line, job)


def test_who_has_lost_a_batch_to_others_gives_it_up(
    the_line: Line, job: str, beating: Heartbeat, worker: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Slow()
    monkeypatch.setattr(pool, "_load", lambda _model: NeuralEngine("en", None, Batched(model, 1, padded=False)))
    monkeypatch.setattr(batch, "PATIENCE_SECONDS", 0.0)
    done = worker.submit(batch.run_batch, job, 0)
    until(lambda: model.begun > 1)
    with the_line.ledger.transaction() as tx:  # as another worker does when the leases have run out
        tx.connection.execute(
            "UPDATE blocks SET token = new_token(), claimed_by = 'other', lease_until = now() + interval '1 hour'"
        )
    report = gives_up(done)
    assert (report.accepted, report.failed) == (0, 0)
    assert {(b.state, b.attempt, b.error_class) for b in the_line.blocks(job)} == {("CLAIMED", 1, None)}
    assert the_line.errors(job) == []


# What the heartbeat tells ----------------------------------------------------------------------------------


def held(job: UUID, claims: Sequence[Claim], number: int = 0) -> Held:
    return Held(str(job), number, [c.token for c in claims], time.monotonic() + 60)


def test_only_what_is_held_no_longer_is_unwanted(the_line: Line) -> None:
    ledger = the_line.ledger
    job = work.make_job(ledger, [0, 1], 3)
    first, second = work.take(ledger, job, 0), work.take(ledger, job, 1)
    both = [held(job, first), held(job, second, 1)]
    assert beat(ledger, "w@x:1", both, 60) == []
    with psycopg.connect(ledger.dsn) as other:  # a commit in flight, or anybody
        other.execute("SELECT 1 FROM blocks FOR UPDATE")
        assert beat(ledger, "w@x:1", both, 60) == []
    with ledger.transaction() as tx:
        work.finish(tx, job, first[:2])
    assert beat(ledger, "w@x:1", both, 60) == [], "one of them is still held"
    with ledger.transaction() as tx:
        work.finish(tx, job, first[2:])
    assert beat(ledger, "w@x:1", both, 60) == both[:1]
    cancel(ledger, jobs.find(job, ledger))
    assert beat(ledger, "w@x:1", both, 60) == both


def test_the_end_of_a_batch_does_not_stop_the_next_one(the_line: Line, beating: Heartbeat) -> None:
    job = work.make_job(the_line.ledger, [0, 1], 3)
    first = work.take(the_line.ledger, job, 0)
    before = beating.hold(held(job, first))
    with the_line.ledger.transaction() as tx:
        work.finish(tx, job, first)
    assert before.wait(SOON), "the thread has not said yet that it is at its end"
    second = work.take(the_line.ledger, job, 1)
    beating.release()
    after = beating.hold(held(job, second, 1))
    for _ in range(3):
        last = _seen(the_line)
        until(lambda last=last: _seen(the_line) != last)  # type: ignore[misc]
    assert not after.is_set()
    beating.release()


def _seen(the_line: Line) -> object:
    """When the heartbeat was last heard of in the ledger."""
    with the_line.ledger.transaction() as tx:
        return tx.connection.execute("SELECT max(seen_at) FROM instances").fetchone()
