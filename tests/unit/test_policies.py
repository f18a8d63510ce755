"""Files that people edit while the line runs: a process that has read a good one goes on with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tradu import admission
from tradu.cluster import segments
from tradu.cluster.scaling.policy import current_policies
from tradu.errors import RequestError, SystemicError
from tradu.settings import get_settings
from tradu.stack import doctor
from tradu.stack.layout import Layout

FILES: dict[str, tuple[str, str, Callable[[], object]]] = {
    "admission": ("most_running: {}", "most_runing: 2", lambda: admission.current_policy().most_running),
    "scaling": (
        "pools: {{cpu: {{step_up: {}}}}}",
        "pools: {cpu: {flor: 3}}",
        lambda: current_policies(get_settings())["cpu"].step_up,
    ),
    "models": (
        "models: {{firefox-en-pt: {{memory_mb: {}}}}}",
        "models: {firefox-en-pt: {memory: 3}}",
        lambda: segments.registry().model("firefox-en-pt").memory_mb,
    ),
}
HALF_SAVED = (b"a: [", b"\xff\xfe half of it", b"- not\n- a mapping\n")


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a file in a home where this process has read nothing yet."""
    monkeypatch.setenv("TRADU_HOME", str(tmp_path))
    return str(request.param)


def test_what_became_wrong_changes_nothing_and_is_told_once(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (right, wrong, seen), file = FILES[name], tmp_path / f"{name}.yaml"
    file.write_text(right.format(7))
    assert seen() == 7
    for content in (wrong.encode(), *HALF_SAVED):
        caplog.clear()
        file.write_bytes(content)
        assert (seen(), seen()) == (7, 7)
        (told,) = (r for r in caplog.records if r.levelno >= logging.ERROR)
        assert str(file) in told.getMessage()
    file.write_text(right.format(12))
    assert seen() == 12


def test_where_it_was_wrong_from_the_start_there_is_nothing_to_go_on_with(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, wrong, seen = FILES[name]
    (tmp_path / f"{name}.yaml").write_text(right.format(7))
    assert seen() == 7
    another = tmp_path / "another"
    another.mkdir()
    (another / f"{name}.yaml").write_text(wrong)
    monkeypatch.setenv("TRADU_HOME", str(another))
    with pytest.raises((RequestError, SystemicError), match=f"{name}.yaml"):
        seen()


@pytest.mark.parametrize("wrong", ["admission", "scaling", "retention"])
def test_the_doctor_names_the_file(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_HOME", str(tmp_path))
    (good,) = doctor._policies(Layout(get_settings()), True)
    assert good.level == "ok"
    (tmp_path / f"{wrong}.yaml").write_text("no_such_thing: 1\n")
    (finding,) = doctor._policies(Layout(get_settings()), True)
    assert (finding.level, f"{tmp_path}/{wrong}.yaml" in finding.message) == ("error", True)
    assert "mend that file" in finding.remedy


def test_the_doctor_warns_of_what_cannot_come_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_HOME", str(tmp_path))
    (tmp_path / "admission.yaml").write_text("most_deferred: 1_000\n")
    (finding,) = doctor._policies(Layout(get_settings()), True)
    assert (finding.level, "most_deferred" in finding.message) == ("warn", True)


def test_a_job_that_runs_goes_on_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_HOME", str(tmp_path))
    (tmp_path / "admission.yaml").write_text("ageing_minutes: 5\n")
    assert admission.policy_of_running(get_settings()).ageing_minutes == 5
    (tmp_path / "admission.yaml").write_text("ageing_minutes: five\n")
    assert admission.policy_of_running(get_settings()).ageing_minutes == 30
