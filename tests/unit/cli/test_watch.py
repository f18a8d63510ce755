"""From task instances and counts to what is shown: pure functions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tradu.cli.airflow import Run, TaskInstance
from tradu.cli.output import Output, seconds
from tradu.cli.progress import Lines, count_text
from tradu.cli.watch import Blocks, Meter, Picture, Stage, blocks, stages
from tradu.ledger.rows import Progress

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = Run("run", "running", NOW, None)


def _instance(task: str, state: str | None, start: float | None, end: float | None, index: int = -1) -> TaskInstance:
    at = [None if s is None else NOW + timedelta(seconds=s) for s in (start, end)]
    return TaskInstance(task, index, state, at[0], at[1], 1)


def test_a_mapped_stage_lasts_from_its_first_start_to_its_last_end() -> None:
    found = stages(
        ["admit", "infer", "publish"],
        [
            _instance("admit", "success", -10, -8),
            _instance("infer", "success", -8, -5, 0),
            _instance("infer", "success", -7, -2, 1),
        ],
        NOW,
    )
    assert found == (
        Stage("admit", "success", 2.0, 1, 1),
        Stage("infer", "success", 6.0, 2, 2),
        Stage("publish", "waiting", None, 0, 0),
    )


def test_the_worst_instance_speaks_for_its_stage() -> None:
    def state(*states: str | None) -> str:
        return stages(["infer"], [_instance("infer", s, -3, None, i) for i, s in enumerate(states)], NOW)[0].state

    assert state("success", "running", "failed") == "failed"
    assert state("success", "deferred", None) == "deferred"
    assert state("success", None) == "waiting"
    assert state("success", "skipped") == "success"
    assert state("skipped") == "skipped"


def test_a_stage_that_runs_lasts_until_now() -> None:
    assert stages(["infer"], [_instance("infer", "running", -3, None)], NOW)[0].seconds == 3.0


def test_blocks_that_wait_for_the_gate_count_as_done() -> None:
    counts = blocks(
        [
            Progress("PENDING", 5, 500),
            Progress("VALIDATING", 2, 200),
            Progress("ERROR", 1, 100),
            Progress("COMPLETED", 2, 200),
        ]
    )
    assert counts == Blocks(done=5, total=10, failed=1, characters_done=500, characters_total=1000)


def test_the_rate_counts_from_when_blocks_began_to_move() -> None:
    meter = Meter()
    assert meter.rate(0, 10.0) is None
    assert meter.rate(0, 20.0) is None
    assert meter.rate(500, 25.0) == 100.0
    joined = Meter()
    assert joined.rate(1000, 10.0) is None
    assert joined.rate(1500, 20.0) == 50.0


def _picture(state: str, done: int, rate: float | None = None) -> Picture:
    counts = Blocks(done, 10, 0, done * 100, 1000)
    return Picture(RUN, (Stage("admit", "success", 1.0, 1, 1), Stage("infer", state, 2.0, 0, 1)), None, counts, rate)


def test_time_left_is_what_is_left_at_the_rate() -> None:
    assert count_text(_picture("running", 4, 60.0)) == "4 of 10 blocks, 60 characters/s, 10.0 s left"
    assert count_text(_picture("running", 4)) == "4 of 10 blocks"


def test_plain_lines_say_each_thing_once_and_blocks_now_and_then() -> None:
    lines = Lines(Output())
    lines._spoke_at = 0.0
    assert list(lines.lines(_picture("running", 1), 5.0)) == ["admit: success, 1.0 s"]
    assert list(lines.lines(_picture("running", 2), 6.0)) == []
    assert list(lines.lines(_picture("deferred", 3), 16.0)) == ["infer: 3 of 10 blocks"]
    assert list(lines.lines(_picture("success", 10), 17.0)) == ["infer: success, 2.0 s, 10 of 10 blocks"]


def test_durations_are_said_as_people_do() -> None:
    assert [seconds(s) for s in (None, 3.21, 250.0, 7500.0)] == ["-", "3.2 s", "4 min 10 s", "2 h 5 min"]
