"""Who has been silent for too long."""

from __future__ import annotations

from tradu.stack.liveness import LOOK_SECONDS, SILENT_SECONDS, Silence

OLD = {"airflow-scheduler": 1_000.0, "airflow-triggerer": 1_000.0}


def test_a_component_is_ended_after_a_long_silence_alone() -> None:
    silence, now, ended = Silence(), 0.0, []
    while not ended:
        ended = silence.look({"airflow-scheduler": False, "airflow-triggerer": True}, OLD, now)
        now += LOOK_SECONDS
    assert ended == ["airflow-scheduler"]
    assert SILENT_SECONDS <= now - LOOK_SECONDS < SILENT_SECONDS + LOOK_SECONDS


def test_a_word_in_between_begins_anew() -> None:
    silence = Silence()
    silence.look({"airflow-scheduler": False}, OLD, 0)
    assert not silence.look({"airflow-scheduler": True}, OLD, SILENT_SECONDS - 1)
    assert not silence.look({"airflow-scheduler": False}, OLD, SILENT_SECONDS)
    assert not silence.look({"airflow-scheduler": False}, OLD, 2 * SILENT_SECONDS - 1)


def test_what_can_not_be_asked_is_not_blamed() -> None:
    silence = Silence()
    silence.look({"airflow-scheduler": False}, OLD, 0)
    assert not silence.look({}, OLD, SILENT_SECONDS), "the database is away"
    assert not silence.look({"airflow-scheduler": False}, OLD, SILENT_SECONDS + 1)


def test_one_that_was_just_started_has_its_time() -> None:
    silence = Silence()
    silence.look({"airflow-scheduler": False}, {"airflow-scheduler": 3.0}, 0)
    assert not silence.look({"airflow-scheduler": False}, {"airflow-scheduler": SILENT_SECONDS - 1}, SILENT_SECONDS)
