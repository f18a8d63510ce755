"""What the doctor finds, and that a broken check is a finding."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

from tradu.settings import Settings
from tradu.stack import doctor
from tradu.stack.host import GIB, Host
from tradu.stack.layout import Layout


def test_packages_that_differ_from_the_lock() -> None:
    httpx = importlib.metadata.version("httpx")
    lock = (
        "# comment\n"
        f"httpx=={httpx} \\\n    --hash=sha256:00\n    # via x\n"
        "psycopg==0.1 \\\n    --hash=sha256:00\n"
        "not-there-at-all==1.0 \\\n    --hash=sha256:00\n"
        "only-elsewhere==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
    )
    wrong = doctor.lock_differences(lock)
    assert [entry.split(" ")[0] for entry in wrong] == ["psycopg", "not-there-at-all"]
    assert wrong[1].endswith("(missing)")


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    layout = Layout(Settings(home=tmp_path, store_url=f"file://{tmp_path}/file/store"))
    (finding,) = doctor._store(layout, False)
    assert (finding.level, finding.name) == ("error", "store")
    assert "TRADU_STORE_URL" in finding.remedy


def test_a_bigger_machine_is_used_without_a_setting(tmp_path: Path) -> None:
    layout = Layout(Settings(home=tmp_path))
    small, large = (doctor.sizes(layout, Host(cores, cores * 8 * GIB, 0)) for cores in (1, 16))
    assert small == (
        "workers: 1, each of one thread and 4915 MiB, 3092 MB of it for models; "
        "PostgreSQL with 1024 MiB of shared buffers; 4 Airflow tasks at once a scheduler"
    )
    assert "workers: 16, each of one thread and 4915 MiB" in large
    assert "16384 MiB of shared buffers; 32 Airflow tasks" in large


def test_a_kernel_that_is_not_compiled_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tradu.inference.marian.build.built", lambda: None)
    (finding,) = doctor._neural_kernel(Layout(Settings(home=tmp_path)), False)
    assert (finding.level, finding.name) == ("warn", "neural kernel")
    assert "tradu setup" in finding.remedy


def test_a_stack_that_is_down_is_a_warning_with_its_remedy(tmp_path: Path) -> None:
    findings = {finding.name: finding for finding in doctor.doctor(Settings(home=tmp_path / "home"))}
    for name in ("ledger", "airflow api", "dask"):
        assert (findings[name].level, findings[name].remedy) == ("warn", "tradu up")


def test_a_check_that_fails_is_a_finding(tmp_path: Path) -> None:
    def _broken(_layout: Layout, _running: bool) -> Iterator[doctor.Finding]:
        raise ValueError("boom")
        yield

    (finding,) = doctor._safely(_broken, Layout(Settings(home=tmp_path)), False)
    assert (finding.level, "boom" in finding.message) == ("error", True)
