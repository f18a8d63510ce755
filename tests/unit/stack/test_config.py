"""What Airflow and the supervisor are told: read back with their own parsers."""

from __future__ import annotations

import configparser
import stat
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from tradu.settings import Settings
from tradu.stack import airflow_config, postgres, services
from tradu.stack.host import GIB, Host
from tradu.stack.layout import Layout

HOST = Host(cores=4, memory_bytes=8 * GIB, gpus=0)


def _layout(home: Path, **changes: object) -> Layout:
    return Layout(Settings.model_validate({"home": home, **changes}))


def _programs(layout: Layout, host: Host = HOST) -> dict[str, object]:
    listed = services.services(layout, host)
    layout.run.mkdir(parents=True)
    layout.logs.mkdir(parents=True)
    file = layout.run / "supervisord.conf"
    # the account is made by `up`, supervisord looks it up when it reads the file
    text = services.supervisor_config(layout, listed).replace("user=tradu\n", "")
    file.write_text(text)
    options = ServerOptions()
    options.realize(["-c", str(file)])
    return {program.name: program for group in options.process_group_configs for program in group.process_configs}


def test_airflow_cfg_keeps_percent_signs(tmp_path: Path) -> None:
    text = airflow_config.render({"database": {"sql_alchemy_conn": "postgresql://u:p%40ss@h/db"}})
    parser = configparser.ConfigParser()
    parser.read_string(text)
    assert parser["database"]["sql_alchemy_conn"] == "postgresql://u:p%40ss@h/db"


def test_airflow_home_is_private_and_its_keys_last(tmp_path: Path) -> None:
    layout = _layout(tmp_path / "home", api_url="http://127.0.0.1:9999")
    airflow_config.write(layout, HOST)
    file = layout.airflow_home / "airflow.cfg"
    first = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "home" / "secrets").stat().st_mode) == 0o700
    airflow_config.write(layout, HOST)
    assert file.read_text() == first
    parser = configparser.ConfigParser()
    parser.read_string(first)
    assert parser["api"]["port"] == "9999"
    assert parser["api"]["host"] == "127.0.0.1"
    assert parser["core"]["execution_api_server_url"] == "http://127.0.0.1:9999/execution/"
    assert parser["core"]["parallelism"] == "10"


def test_services_read_the_same_settings(tmp_path: Path) -> None:
    layout = _layout(tmp_path, ledger_url="postgresql://u:s@h/d", nightly_targets=("pt", "es"), workers=3)
    caller = {"PYTHONDONTWRITEBYTECODE": "1", "PATH": "/bin", "AIRFLOW_CONFIG": "/elsewhere"}
    environment = airflow_config.environment(layout, caller)
    assert not {"PYTHONDONTWRITEBYTECODE", "AIRFLOW_CONFIG"} & environment.keys()
    assert environment["PATH"] == "/bin"
    assert environment["TRADU_LEDGER_URL"] == "postgresql://u:s@h/d"
    assert environment["TRADU_NIGHTLY_TARGETS"] == '["pt", "es"]'
    assert environment["TRADU_WORKERS"] == "3"
    assert environment["TRADU_STACK"] == layout.identity


def test_services_read_settings_of_every_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {
        "sources": ("file:///srv/in", "s3://bucket/in"),
        "tier_pools": {"premium": "large"},
        "pool_workers": {"large": 2},
        "daily_budgets": {"acme": 2.5},
        "archive_url": "postgresql://a:%40@h/d",
        "landing_url": "s3://bucket/landing",
    }
    layout = _layout(tmp_path, **asked)
    for name, value in airflow_config.environment(layout, {}).items():
        monkeypatch.setenv(name, value)
    assert Settings() == layout.settings


def test_the_supervisor_reads_every_service(tmp_path: Path) -> None:
    programs = _programs(_layout(tmp_path / "a b%c;d", workers=2))
    assert set(programs) == {
        "postgres",
        "airflow-api-server",
        "airflow-scheduler",
        "airflow-dag-processor",
        "airflow-triggerer",
        "dask-scheduler",
        "dask-worker-0",
        "dask-worker-1",
        "tradu-controller",
        "tradu-agent",
    }
    for name, program in programs.items():
        assert program.autorestart, name
        assert program.killasgroup, name
        assert program.stopasgroup == (name != "postgres"), name
        assert program.autostart == (name == "postgres"), name
        waited = sum(range(1, program.startretries + 1))  # a second more before each time that it is started
        assert waited > 365 * 86_400, f"{name} is given up"
    assert str(tmp_path / "a b%c;d") in str(programs["dask-worker-0"].command)


def test_a_machine_without_workers_scales_none_and_looks_after_airflow(tmp_path: Path) -> None:
    names = set(_programs(_layout(tmp_path, dask_scheduler="tcp://cluster.example:8786")))
    assert "tradu-agent" in names
    assert not {"tradu-controller", "dask-scheduler", "dask-worker-0"} & names


def test_schedulers_side_by_side_share_the_slots(tmp_path: Path) -> None:
    layout = _layout(tmp_path, airflow_schedulers=2)
    commands = {name: program.command for name, program in _programs(layout).items() if "airflow-scheduler" in name}
    assert set(commands) == {"airflow-scheduler", "airflow-scheduler-2"}
    assert len(set(commands.values())) == 1
    slots = [airflow_config.parallelism(HOST, schedulers) for schedulers in (1, 2)]
    assert int(airflow_config.options(layout, HOST)["core"]["parallelism"]) == slots[1]
    assert slots[0] <= 2 * slots[1] <= slots[0] + 1


def test_the_configuration_holds_no_secret(tmp_path: Path) -> None:
    layout = _layout(tmp_path / "home")
    airflow_config.write(layout, HOST)
    text = services.supervisor_config(layout, services.services(layout, HOST))
    for file in (tmp_path / "home" / "secrets").iterdir():
        assert file.read_text().strip() not in text


@pytest.mark.parametrize(
    ("address", "workers", "gpus", "expected"),
    [
        ("tcp://127.0.0.1:8786", None, 0, (True, 4)),
        ("tcp://localhost:8786", 7, 0, (True, 7)),
        ("tcp://127.0.0.1:8786", None, 2, (True, 2)),
        ("tcp://cluster.example:8786", None, 0, (False, 0)),
        ("tcp://cluster.example:8786", 2, 0, (False, 2)),
    ],
)
def test_who_runs_dask(
    tmp_path: Path, address: str, workers: int | None, gpus: int, expected: tuple[bool, int]
) -> None:
    layout, host = _layout(tmp_path, dask_scheduler=address, workers=workers), Host(4, 8 * GIB, gpus)
    listed = services.dask_workers(layout, host)
    assert (layout.runs_dask_scheduler, len(listed)) == expected
    assert all(("cuda" in service.command) == bool(gpus) for service in listed)
    assert all(("127.0.0.1:0" in service.command) == layout.runs_dask_scheduler for service in listed)
    devices = [service.environment.get("CUDA_VISIBLE_DEVICES") for service in listed]
    assert devices == (["0", "1"] if gpus else [None] * len(listed))


def test_workers_of_pools_come_besides_and_know_their_pool(tmp_path: Path) -> None:
    layout = _layout(tmp_path, workers=2, pool_workers={"gpu": 1})
    listed = services.dask_workers(layout, Host(4, 8 * GIB, 0))
    assert [service.environment.get("TRADU_POOL") for service in listed] == [None, None, "gpu"]
    assert len({service.name for service in listed}) == 3
    names = [service.command[service.command.index("--name") + 1] for service in listed]
    assert len(set(names)) == 3
    prefix = services.worker_name(layout, "")
    assert [name.startswith(prefix) for name in names] == [True, True, False], "the controller counts the scaled ones"


def test_no_embedded_server_when_both_databases_are_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql+psycopg2://a:b@db/airflow")
    layout = _layout(tmp_path, ledger_url="postgresql://a:b@db/tradu")
    assert layout.postgres is None
    assert layout.airflow_dsn == "postgresql://a:b@db/airflow"
    assert "postgres" not in {service.name for service in services.services(layout, HOST)}
    monkeypatch.delenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN")
    assert _layout(tmp_path, ledger_url="postgresql://a:b@db/tradu").postgres is not None


def test_the_socket_fits_however_long_the_home_is(tmp_path: Path) -> None:
    layout = _layout(tmp_path / ("x" * 120))
    assert len(str(layout.socket)) < 90
    assert layout.socket != _layout(tmp_path / ("y" * 120)).socket


@pytest.mark.parametrize(("memory_gib", "buffers"), [(0.25, "64MB"), (8, "1024MB"), (1024, "16384MB")])
def test_database_memory_follows_the_host(memory_gib: float, buffers: str) -> None:
    parameters = postgres.parameters(int(memory_gib * GIB))
    assert parameters["shared_buffers"] == buffers
    assert parameters["fsync"] == "on"
