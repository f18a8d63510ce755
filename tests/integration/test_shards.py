"""How many shards a job has follows the measured pace, and stays as it was chosen: on a real ledger and store."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from fixtures.line import Line
from tradu import line
from tradu.cli.main import app
from tradu.inference.registry import load_registry
from tradu.ledger.connection import Ledger
from tradu.partitioning import plan
from tradu.settings import get_settings

BATCH = 1_000
SENTENCES = 1_200
TEXT = "".join(f"In the harbour of the north ship number {n} came home.\n\n" for n in range(SENTENCES))


@pytest.fixture
def cut(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> str:
    """A job whose documents are about to be partitioned, beside one by which a pace is measured."""
    monkeypatch.setenv("TRADU_BATCH_CHARS", str(BATCH))
    the_line.put({"text.txt": TEXT})
    job = the_line.admit(source="en")
    line.ingest(job)
    line.gate_documents(job)
    return job


def measure(the_line: Line, characters_per_second: float, seconds: float = 100) -> None:
    """What the route that a job would take is known to have done today."""
    other = the_line.admit("measured", source="en")
    rungs = load_registry(get_settings()).plan("en", "pt", "balanced").rungs
    with the_line.ledger.transaction() as tx:
        tx.connection.execute("DELETE FROM spending")
        for rung in rungs:
            tx.run(
                "add_spending",
                job_id=other,
                tiers=[rung[0].tier],
                models=["+".join(model.identity for model in rung)],
                texts=[1],
                characters=[round(characters_per_second * seconds)],
                climbed=[0],
                stayed=[0],
                seconds=[seconds],
                costs=[0.0],
            )


def places(ledger: Ledger, job: str) -> list[tuple[Any, ...]]:
    return ledger.tuples("batches", job_id=job)


def test_slow_workers_get_small_shards_and_a_second_partition_the_same(
    the_line: Line, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(the_line, 100)
    with monkeypatch.context() as patched:
        patched.setattr(plan, "shards", lost)
        with pytest.raises(OSError, match="lost here"):
            line.partition(cut)
    assert the_line.job(cut).sharding is None, "what was not carried out was not chosen"
    done = line.partition(cut)
    sharding = the_line.job(cut).sharding
    assert sharding is not None
    assert sharding["shards"] == done.shards
    pace = sharding["inputs"]["characters_per_second"]
    assert done.characters / done.shards <= max(60 * pace, 2 * plan.LEAST_BATCHES * BATCH)
    assert done.shards > 3
    chosen = plan.sharding(plan.Load(**sharding["inputs"]))
    assert (chosen.shards, chosen.rule, chosen.reason) == (done.shards, sharding["rule"], sharding["reason"])

    placed = places(the_line.ledger, cut)
    measure(the_line, 10_000)
    monkeypatch.setenv("TRADU_MAX_SHARDS", "2")
    assert line.partition(cut).shards == done.shards
    assert places(the_line.ledger, cut) == placed
    assert the_line.job(cut).sharding == sharding
    line.gate_blocks(cut)
    assert line.waiting_shards(cut) == list(range(done.shards))
    shown = CliRunner().invoke(app, ["job", cut])
    assert f"{done.shards} shards ({sharding['rule']}): {sharding['reason']}" in shown.stdout
    assert json.loads(CliRunner().invoke(app, ["job", cut, "--json"]).stdout)["job"]["sharding"] == sharding


def lost(*_: object, **__: object) -> list[int]:
    raise OSError("lost here")


def test_little_work_measures_nothing_and_machines_count(the_line: Line, cut: str) -> None:
    measure(the_line, 100, seconds=line.MEASURED_SECONDS / 2)
    with the_line.ledger.transaction() as tx:
        tx.run("see_agent", agent="a", pool="cpu", prefix="a", capacity=5, running=0, to_roll=0, first=True)
    line.partition(cut)
    sharding = the_line.job(cut).sharding
    assert sharding is not None
    assert (sharding["shards"], sharding["rule"]) == (1, plan.Rule.UNMEASURED)
    assert sharding["inputs"]["workers"] == 5


def test_fast_workers_get_large_shards_but_one_each(the_line: Line, cut: str) -> None:
    measure(the_line, 10_000)
    with the_line.ledger.transaction() as tx:
        tx.run("see_agent", agent="a", pool="cpu", prefix="a", capacity=5, running=1, to_roll=0, first=True)
    assert line.partition(cut).shards == 5
    sharding = the_line.job(cut).sharding
    assert sharding is not None
    assert sharding["rule"] == plan.Rule.WORKERS
