"""People decide about what the line could not do: blocks in quarantine, and jobs that a gate has stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from fixtures.line import Line
from tradu import line
from tradu.assembly.read import texts_of
from tradu.errors import GateStopError, RequestError, SystemicError
from tradu.ledger import decisions
from tradu.ledger.rows import Block, DeadLetter
from tradu.quality import checks
from tradu.watchdog import pipeline

FILES = {
    "good.txt": "The harbour was closed because of the storm.\n",
    "odd.txt": "Please pay 1,250 euros for the chairs before Friday.\n",
}


@pytest.fixture
def refused(the_line: Line) -> str:
    """A job of which the gate refuses one block, whatever is made of it."""
    the_line.put(FILES)
    job = the_line.admit(source="en")
    the_line.infer(job, the_line.prepare(job))
    _spoil(the_line, job)
    assert the_line.deliver(job) == "PARTIAL"
    return job


def _spoil(the_line: Line, job: str) -> None:
    """Make the translation of odd.txt wrong in the results object, as a bad model would."""
    import pyarrow as pa

    from tradu import tables
    from tradu.ledger import objects

    block = _block(the_line, job, "odd.txt")
    table = tables.read(the_line.store, block.result or "")
    rows = table.to_pylist()
    for row in rows:
        if row["document_id"] == block.document_id:
            row["translation"] = row["translation"].replace("1.250", "9.999").replace("1,250", "9,999")
            judged = checks.check_translation(row["source"], row["translation"], "en", "pt", unknown_words=0)
            row |= {name: getattr(judged, name) for name in judged.__dataclass_fields__}
    stored = tables.write(the_line.store, block.result or "", pa.Table.from_pylist(rows, schema=table.schema))
    with the_line.ledger.transaction() as tx:
        objects.add(tx, UUID(job), stored)


def _block(the_line: Line, job: str, path: str) -> Block:
    (block,) = (b for b in the_line.blocks(job) if b.path == path)
    return block


def _go_on(the_line: Line, job: str) -> str:
    """What the next run of the job does."""
    assert the_line.admit(source="en") == job
    the_line.infer(job, the_line.prepare(job))
    return the_line.deliver(job)


def test_a_dead_letter_says_what_and_why(the_line: Line, refused: str) -> None:
    with the_line.ledger.transaction() as tx:
        letters = tx.rows("dead_letters", DeadLetter, job_id=UUID(refused), limit=10, offset=0)
    assert sorted(le.entity for le in letters) == ["block", "document"]
    (letter,) = (le for le in letters if le.entity == "block")
    assert (letter.path, letter.target, letter.error_class) == ("odd.txt", "pt", "model")
    assert "numbers" in letter.reason
    block = _block(the_line, refused, "odd.txt")
    (text,) = texts_of(the_line.ledger, the_line.store, block)
    assert text.source == FILES["odd.txt"].strip()
    assert "9.999" in (text.translation or "")


def test_a_retried_block_is_done_again_and_only_that(the_line: Line, refused: str) -> None:
    good = _block(the_line, refused, "good.txt")
    block = _block(the_line, refused, "odd.txt")
    job = the_line.job(refused)
    assert decisions.retry(the_line.ledger, job, [block.block_id, good.block_id], "ana", "premium") == 1
    assert the_line.job(refused).state == "RUNNING"
    assert _go_on(the_line, refused) == "COMPLETED"
    again = _block(the_line, refused, "odd.txt")
    assert (again.state, again.attempt) == ("COMPLETED", 1)
    assert "1.250" in the_line.output(refused, "odd.txt").decode()
    assert _block(the_line, refused, "good.txt") == good
    with the_line.ledger.transaction() as tx:
        assert tx.rows("dead_letters", DeadLetter, job_id=None, limit=10, offset=0) == []
        decided = tx.connection.execute("SELECT decision, decided_by FROM dead_letters").fetchall()
    assert decided == [("retry", "ana")] * 2


def test_a_job_that_was_sent_back_is_not_lost_while_its_new_run_is_queued(
    the_line: Line, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = _block(the_line, refused, "odd.txt")
    decisions.retry(the_line.ledger, the_line.job(refused), [block.block_id], "ana", None)
    monkeypatch.setattr(pipeline, "LOST_SECONDS", 0)
    assert pipeline.end_lost(the_line.ledger, lambda _: 0) == [], "the run that has ended is no longer the job's"
    assert _go_on(the_line, refused) == "COMPLETED"
    assert the_line.job(refused).run_id == "run-key"


def test_a_released_block_stands_as_it_is(the_line: Line, refused: str) -> None:
    assert FILES["odd.txt"] == the_line.output(refused, "odd.txt").decode(), "rather no translation than a bad one"
    block = _block(the_line, refused, "odd.txt")
    assert decisions.release(the_line.ledger, the_line.job(refused), [block.block_id], "ana") == 1
    assert _go_on(the_line, refused) == "COMPLETED"
    assert "9.999" in the_line.output(refused, "odd.txt").decode()
    released = _block(the_line, refused, "odd.txt")
    assert (released.state, released.reason) == ("COMPLETED", decisions.RELEASED)


@pytest.fixture
def stopped(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> str:
    """A job that the gate on blocks has stopped: most of its documents are no language."""
    noise = "zxqj kwvb " * 30
    the_line.put({f"noise-{n:02}.txt": f"{noise}{n}\n" for n in range(24)} | {"good.txt": FILES["good.txt"]})
    job = the_line.admit(source="en")
    line.ingest(job)
    line.gate_documents(job)
    line.partition(job)
    with pytest.raises(GateStopError):
        line.gate_blocks(job)
    assert (the_line.job(job).state, the_line.job(job).stopped_by) == ("ERROR", "blocks")
    return job


def test_an_accepted_job_goes_on_without_what_is_bad(the_line: Line, stopped: str) -> None:
    assert line.decide(stopped, "translations", "accept", "ana", "other") is None, "it waits for another gate"
    conf = line.decide(stopped, "blocks", "accept", "ana", "question")
    assert conf is not None
    assert conf["idempotency_key"] == "key"
    assert line.decide(stopped, "blocks", "accept", "ana", "question") == conf, "a task that was killed asks again"
    assert line.decide(stopped, "blocks", "drop", "bruno", "late") is None, "it waits for no decision any more"
    assert _go_on(the_line, stopped) == "PARTIAL"
    states = {path: d.state for path, d in the_line.documents(stopped).items()}
    assert states.pop("good.txt") == "COMPLETED"
    assert set(states.values()) == {"ERROR"}


def test_an_acceptance_holds_for_one_run(the_line: Line, stopped: str) -> None:
    line.decide(stopped, "blocks", "accept", "ana")
    for _ in range(2):
        the_line.admit(source="en")
        line.gate_blocks(stopped)
    with the_line.ledger.transaction() as tx:
        tx.connection.execute("UPDATE jobs SET run_id = 'another' WHERE job_id = %s", (stopped,))
    with pytest.raises(GateStopError):
        line.gate_blocks(stopped)


def test_a_cleared_task_takes_its_failed_job_up_again(the_line: Line) -> None:
    the_line.put(FILES)
    job = the_line.admit(source="en")
    line.ingest(job)
    line.fail(UUID(job), "the run failed", the_line.ledger)
    with pytest.raises(RequestError, match="ERROR"):
        line.gate_documents(job)
    line.take_up(job, "another run")
    assert the_line.job(job).state == "ERROR"
    line.take_up(job, "run-key")
    line.gate_documents(job)


def test_nothing_is_decided_about_a_job_at_work(the_line: Line, refused: str) -> None:
    block = _block(the_line, refused, "odd.txt")
    decisions.retry(the_line.ledger, the_line.job(refused), [block.block_id], "ana", None)
    for act in (decisions.release, lambda *a: decisions.retry(*a, None)):
        with pytest.raises(RequestError, match="RUNNING"):
            act(the_line.ledger, the_line.job(refused), [block.block_id], "ana")
    with pytest.raises(SystemicError, match="1 blocks of job"):
        line.publish(refused)


def test_a_dropped_job_stays_as_it_is(the_line: Line, stopped: str) -> None:
    assert line.decide(stopped, "blocks", "drop", "ana") is None
    assert (the_line.job(stopped).state, the_line.job(stopped).stopped_by) == ("ERROR", None)


def test_bad_translations_go_back_with_a_higher_profile(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_MAX_BLOCK_CHARS", "60")
    text = "\n\n".join(f"Please pay {1_000 + 17 * n:,} euros for the chairs." for n in range(30))
    the_line.put({"odd.txt": text})
    job = the_line.admit(source="en", profile="economy")
    the_line.infer(job, the_line.prepare(job))
    with monkeypatch.context() as patch:
        from tradu.quality import frames

        patch.setattr(frames, "translations", _all_wrong(frames.translations))
        with pytest.raises(GateStopError):
            line.gate_translations(job)
        assert line.decide(job, "translations", "retry", "ana") is not None
    waiting = the_line.blocks(job)
    reason = "refused by the gate; a person wants it again with profile balanced"
    assert {(b.state, b.reason) for b in waiting} == {("PENDING", reason)}
    with the_line.ledger.transaction() as tx:
        profiles = tx.connection.execute("SELECT DISTINCT profile FROM blocks").fetchall()
    assert profiles == [("balanced",)]
    assert the_line.admit(source="en", profile="economy") == job
    the_line.infer(job, the_line.prepare(job))
    assert {b.tier for b in the_line.blocks(job)} == {"standard"}
    assert the_line.deliver(job) == "COMPLETED"


def _all_wrong(translations: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """What the gate sees, with every number lost."""

    def spoilt(*args: Any) -> Iterator[Any]:
        for frame in translations(*args):
            frame["numbers_missing"] = 1
            yield frame

    return spoilt
