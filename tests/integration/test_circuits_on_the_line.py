"""An engine that breaks and a store that goes away, on the real line: circuits open and close, nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from fixtures.line import Line
from tradu import line
from tradu.cluster import attempt, batch, segments
from tradu.errors import ModelError, SystemicError
from tradu.inference import deadline, pool
from tradu.inference.cascade import Plan
from tradu.inference.model import Engine, Model
from tradu.inference.pool import EnginePool
from tradu.ledger.circuits import Circuit
from tradu.ledger.rows import Incident

FAILURES = 2
SECONDS = 0.5


class Breakable:
    """A real engine around which a fault can be switched on, by the name of its model."""

    broken: ClassVar[set[str]] = set()
    slow: ClassVar[Callable[[Sequence[str]], None]] = staticmethod(lambda texts: None)

    def __init__(self, model: Model, engine: Engine) -> None:
        self.model, self.engine = model, engine

    def translate(self, texts: Sequence[str]) -> list[str]:
        if self.model.name in self.broken:
            raise ModelError(f"{self.model.name}: the engine died")
        Breakable.slow(texts)
        return self.engine.translate(texts)

    def close(self) -> None:
        self.engine.close()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Names of models that fail."""
    load: Callable[[Model], Engine] = pool._load
    monkeypatch.setattr(pool, "_load", lambda model: Breakable(model, load(model)))
    monkeypatch.setattr(segments, "_engines", EnginePool())
    monkeypatch.setenv("TRADU_CIRCUIT_FAILURES", str(FAILURES))
    monkeypatch.setenv("TRADU_CIRCUIT_SECONDS", str(SECONDS))
    monkeypatch.setenv("TRADU_LEASE_SECONDS", "1")
    monkeypatch.setenv("TRADU_BATCH_CHARS", "100")
    Breakable.broken = set()
    yield Breakable.broken
    Breakable.broken = set()


@pytest.fixture
def job(the_line: Line, broken: set[str]) -> str:
    towns = ("Lisbon", "Porto", "Braga", "Faro", "Évora", "Coimbra")
    the_line.put({f"{n}.txt": f"The harbour of {town} was closed all winter.\n" for n, town in enumerate(towns)})
    job = the_line.admit(source="en")
    the_line.prepare(job)
    return job


def batches(the_line: Line, job: str) -> list[int]:
    return sorted({b.batch for b in the_line.blocks(job) if b.batch is not None})


def circuits(the_line: Line) -> list[Circuit]:
    with the_line.ledger.transaction() as tx:
        return tx.rows("open_circuits", Circuit)


def kinds(the_line: Line) -> list[str]:
    with the_line.ledger.transaction() as tx:
        return [i.kind for i in reversed(tx.rows("incidents", Incident, job_id=None, limit=100))]


def until_done(the_line: Line, job: str, seconds: float = 30) -> None:
    """Submit again and again what is open, as the trigger does."""
    deadline = time.monotonic() + seconds
    while any(b.state in ("PENDING", "CLAIMED") for b in the_line.blocks(job)):
        assert time.monotonic() < deadline, [(b.state, b.attempt, b.reason) for b in the_line.blocks(job)]
        for number in batches(the_line, job):
            batch.run_batch(job, number)
        time.sleep(0.1)


def test_a_broken_model_is_left_alone_and_the_next_one_used(the_line: Line, broken: set[str], job: str) -> None:
    broken.add("firefox-en-pt")
    for number in batches(the_line, job):
        batch.run_batch(job, number)
    (circuit,) = circuits(the_line)
    assert circuit.name.startswith("model:firefox-en-pt@")
    assert circuit.failures == FAILURES, "once it is open the model is not asked any more"
    assert kinds(the_line) == ["circuit_opened"]
    assert {b.state for b in the_line.blocks(job)} == {"VALIDATING"}
    assert all("reranked" in model for b in the_line.blocks(job) for model in b.models or ())
    with the_line.ledger.transaction() as tx:
        known = tx.connection.execute("SELECT count(*) FROM known_segments").fetchone()
    assert known == (len(batches(the_line, job)) - 2,) or known == (0,), "what a stand-in made is not kept for later"


def test_without_another_model_nothing_is_claimed_until_it_works_again(
    the_line: Line, broken: set[str], job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = Plan(segments.registry().routes("en", "pt", "balanced")[:1], 0.0)
    for module in (attempt, batch):
        monkeypatch.setattr(module, "plan_of", lambda task: only)
    broken.add("firefox-en-pt")
    numbers = batches(the_line, job)
    for number in numbers:
        batch.run_batch(job, number)
    assert len(circuits(the_line)) == 1
    states = [(b.state, b.attempt) for b in the_line.blocks(job)]
    assert {state for state, _ in states} == {"PENDING"}
    assert max(attempts for _, attempts in states) == FAILURES - 1, "an open circuit costs no block its budget"
    broken.clear()
    until_done(the_line, job)
    assert circuits(the_line) == []
    assert kinds(the_line)[-1] == "circuit_closed"
    assert the_line.deliver(job) == "COMPLETED"


def test_models_and_policies_that_can_not_be_read_cost_no_block_anything(
    the_line: Line, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments._kept, "_last", None)
    models, (first, *others) = the_line.folder / "models.yaml", batches(the_line, job)
    models.write_text("models: {firefox-en-pt: {memory_mb: 4")
    with pytest.raises(SystemicError, match="the registry can't be read"):
        batch.run_batch(job, first)
    assert {(b.state, b.attempt) for b in the_line.blocks(job)} == {("PENDING", 0)}
    models.unlink()
    batch.run_batch(job, first)
    models.write_text("models: {firefox-en-pt: {memory_mb: 4")
    (the_line.folder / "admission.yaml").write_text("most_runing: 2\n")
    for number in others:
        batch.run_batch(job, number)
    assert {(b.state, b.attempt) for b in the_line.blocks(job)} == {("VALIDATING", 1)}


def test_a_job_is_cut_when_the_registry_can_be_read_again(the_line: Line) -> None:
    the_line.put({"a.txt": "The harbour of Lisbon was closed all winter.\n"})
    job = the_line.admit(source="en")
    line.ingest(job)
    line.gate_documents(job)
    models = the_line.folder / "models.yaml"
    models.write_text("models: {firefox-en-pt: {memory_mb: 4")
    with pytest.raises(SystemicError, match="the registry can't be read"):
        line.partition(job)
    models.unlink()
    line.partition(job)
    assert {b.state for b in the_line.blocks(job)} == {"PENDING"}


def test_blocks_that_there_was_no_time_for_go_back_and_the_others_are_done(
    the_line: Line, broken: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(deadline, "monotonic", lambda: now[0])
    monkeypatch.setenv("TRADU_BATCH_SECONDS", "10")
    monkeypatch.setenv("TRADU_BATCH_CHARS", "10000")

    def hang(texts: Sequence[str]) -> None:
        if now[0] < 10 and any("Évora" in text for text in texts):
            now[0] += 4
            raise ModelError("it hangs")

    monkeypatch.setattr(Breakable, "slow", hang)
    towns = ("Lisbon", "Porto", "Évora", "Évora and Faro")
    the_line.put({f"{n}.txt": f"The harbour of {town} was closed all winter.\n" for n, town in enumerate(towns)})
    job = the_line.admit("late", source="en")
    the_line.prepare(job)
    (number,) = batches(the_line, job)
    batch.run_batch(job, number)
    assert {b.state for b in the_line.blocks(job)} == {"VALIDATING"}
    assert sorted(b.attempt for b in the_line.blocks(job)) == [1, 1, 2, 2]
    assert circuits(the_line) == [], "no model is to blame"
    with the_line.ledger.transaction() as tx:
        said = "SELECT count(*) FROM history WHERE to_state = 'PENDING' AND reason LIKE 'no time left: %'"
        assert tx.connection.execute(said).fetchone() == (2,)


def test_a_store_that_is_away_opens_its_circuit(the_line: Line, broken: set[str], job: str) -> None:
    store = Path(the_line.store.root)
    store.rename(store.with_name("away"))
    for number in batches(the_line, job)[: FAILURES + 1]:
        with pytest.raises(SystemicError):
            batch.run_batch(job, number)
    assert [c.name for c in circuits(the_line)] == ["store"]
    assert {(b.state, b.attempt) for b in the_line.blocks(job)} == {("PENDING", 0)}
    store.with_name("away").rename(store)
    until_done(the_line, job)
    assert circuits(the_line) == []
    assert the_line.deliver(job) == "COMPLETED"
