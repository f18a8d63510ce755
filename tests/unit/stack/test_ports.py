"""A taken port is found before anything is started, and its holder named."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tradu.errors import SystemicError
from tradu.settings import Settings
from tradu.stack import doctor, lifecycle, ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def _settings(home: Path, postgres_port: int) -> Settings:
    api, dask, dashboard = ports.free_ports(3)
    return Settings(
        home=home,
        postgres_port=postgres_port,
        api_url=f"http://127.0.0.1:{api}",
        dask_scheduler=f"tcp://127.0.0.1:{dask}",
        dask_dashboard_port=dashboard,
    )


def test_who_holds_a_port(taken: int) -> None:
    assert not ports.is_free(taken)
    assert f"process {os.getpid()} " in ports.holder(taken)


def test_free_ports_are_free_and_distinct() -> None:
    found = ports.free_ports(3)
    assert len(set(found)) == 3
    assert all(map(ports.is_free, found))


def test_up_names_the_port_its_holder_and_the_setting(taken: int, tmp_path: Path) -> None:
    with pytest.raises(SystemicError) as caught:
        lifecycle.up(_settings(tmp_path / "home", taken))
    for part in (str(taken), "postgres", f"process {os.getpid()}", f"TRADU_POSTGRES_PORT={taken + 1000}"):
        assert part in str(caught.value)


def test_doctor_says_the_same(taken: int, tmp_path: Path) -> None:
    findings = doctor.doctor(_settings(tmp_path / "home", taken))
    bad = [finding for finding in findings if finding.name == "port" and finding.level == "error"]
    assert [str(taken) in finding.message for finding in bad] == [True]
    assert f"TRADU_POSTGRES_PORT={taken + 1000}" in bad[0].remedy
