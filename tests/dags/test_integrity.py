"""The DAGs import, have the shape their docs draw, and refuse wrong parameters."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.sdk import RetryAction

from tradu.admission import load_policy
from tradu.errors import GateStopError, RequestError, StaleLeaseError, StoreError
from tradu.ledger.rewind import MARK_KEY
from tradu.settings import get_settings
from tradu.store import Store
from tradu_airflow.retries import RETRIES, Patience

Dags = dict[str, Any]
REPOSITORY = Path(__file__).resolve().parents[2]
LINE = ["admit", "ingest", "gate_documents", "partition", "gate_blocks", "infer", "gate_translations", "assemble",
        "gate_output", "publish"]  # fmt: skip


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dags]:
    home = tmp_path_factory.mktemp("airflow")
    patch = pytest.MonkeyPatch()
    patch.setenv("AIRFLOW_HOME", str(home))
    patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    patch.setenv("AIRFLOW__CORE__PLUGINS_FOLDER", str(REPOSITORY / "plugins"))
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(REPOSITORY / "dags")
    assert bag.import_errors == {}
    yield bag.dags
    patch.undo()


def test_the_dags_are_these(dags: Dags) -> None:
    assert sorted(dags) == [
        "tradu_archive",
        "tradu_decide",
        "tradu_nightly",
        "tradu_purge",
        "tradu_restore",
        "tradu_rollout",
        "tradu_scrub",
        "tradu_sweep",
        "tradu_translate",
        "tradu_upkeep",
        "tradu_watchdog",
    ]


def test_the_line_is_in_order(dags: Dags) -> None:
    dag = dags["tradu_translate"]
    ordered = [t.task_id for t in dag.topological_sort()]
    assert [task for task in ordered if task != "ask"] == LINE
    assert dag.get_task("ask").upstream_task_ids == {"admit", *(t for t in LINE if t.startswith("gate_"))}
    assert dag.get_task("ask").trigger_rule == "one_failed"
    for before, after in pairwise(LINE):
        assert after in dag.get_task(before).downstream_task_ids


def test_a_night_asks_for_no_more_at_once_than_may_wait_of_a_tenant(dags: Dags) -> None:
    at_once = dags["tradu_nightly"].get_task("translate").max_active_tis_per_dagrun
    assert 16 < at_once < load_policy(get_settings()).most_deferred


def test_every_gate_links_its_data_docs(dags: Dags) -> None:
    for task in dags["tradu_translate"].tasks:
        names = [link.name for link in task.operator_extra_links]
        assert ("Data Docs" in names) == task.task_id.startswith("gate_")


def test_an_erasure_waits_for_archives_and_people_hear_where_it_fails(dags: Dags) -> None:
    dag = dags["tradu_purge"]
    for before, after in pairwise(["archives", "thaw", "erase", "plan", "purge"]):
        assert after in dag.get_task(before).downstream_task_ids
    assert all(dag.get_task(name).has_on_failure_callback for name in ("archives", "thaw", "erase", "purge"))


def test_every_task_retries_soon(dags: Dags) -> None:
    for dag in dags.values():
        for task in dag.tasks:
            assert task.retries >= 2 or (task.task_id, task.retries) == ("tell", 0)
            assert task.retry_delay.total_seconds() <= 10


def test_runs_that_somebody_waits_for_are_patient_with_the_line(dags: Dags) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    for name in ("tradu_translate", "tradu_nightly", "tradu_decide", "tradu_archive", "tradu_purge", "tradu_restore"):
        tasks = dags[name].tasks
        assert {(task.retries, type(task.retry_policy)) for task in tasks} == {(RETRIES, Patience)}
        read = DagSerialization.from_dict(DagSerialization.to_dict(dags[name]))
        assert {task.task_id: task.retries for task in read.tasks} == {task.task_id: RETRIES for task in tasks}


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (StoreError("away"), RETRIES + 1),
        (psycopg.OperationalError("away"), RETRIES + 1),
        (OSError(28, "no space left on device"), RETRIES + 1),
        (StaleLeaseError(), RETRIES + 1),
        (RequestError("no model"), 1),
        (GateStopError("too many are bad"), 1),
        (FileNotFoundError("an object of a store that is away"), RETRIES + 1),
        (KeyError("a defect"), 3),
    ],
)
@pytest.mark.parametrize("cleared_after", [0, 7])
def test_how_often_a_task_is_tried_follows_from_what_it_failed_of(
    error: Exception, tries: int, cleared_after: int
) -> None:
    # as Airflow counts: tries go on where a task is cleared, and what is allowed with them
    most = cleared_after + RETRIES
    tried, waited = 1, timedelta()
    while tried <= RETRIES:
        decision = Patience().evaluate(error, cleared_after + tried, most)
        if decision.action is RetryAction.FAIL:
            break
        waited += decision.retry_delay or timedelta(seconds=5)
        tried += 1
    assert tried == tries
    if tries > RETRIES:
        assert timedelta(minutes=5) < waited < timedelta(minutes=15), "minutes, not a night"


def test_an_object_that_is_missing_is_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its store may have been away and be back by now."""
    store = Store((tmp_path / "store").as_uri())
    store.create()
    store.put(MARK_KEY, b"{}")
    monkeypatch.setenv("TRADU_STORE_URL", store.uri)
    decisions = [Patience().evaluate(FileNotFoundError("an object"), tried, RETRIES) for tried in (1, 2, 3)]
    assert [decision.action for decision in decisions] == [RetryAction.RETRY, RetryAction.RETRY, RetryAction.FAIL]


@pytest.mark.parametrize(
    "wrong",
    [
        {"targets": []},
        {"targets": ["Portuguese"]},
        {"targets": ["pt", "pt"]},
        {"source": "English"},
        {"profile": "best"},
        {"documents": []},
        {"tenant": "../x"},
        {"options": {"unknown": 1}},
    ],
)
def test_wrong_parameters_are_refused(dags: Dags, wrong: dict[str, object]) -> None:
    from airflow.sdk.definitions.param import ParamsDict
    from airflow.sdk.exceptions import ParamValidationError

    params = ParamsDict(dict(dags["tradu_translate"].params.items()))
    params.validate()
    ((name, value),) = wrong.items()
    with pytest.raises(ParamValidationError):
        params[name] = value


def test_params_describe_themselves(dags: Dags) -> None:
    for name, param in dags["tradu_translate"].params.items():
        assert name
        assert param.description
        assert param.schema["title"]


def test_airflow_reads_one_file_of_the_plugins_folder() -> None:
    from airflow.utils.file import list_py_file_paths

    assert [Path(p).name for p in list_py_file_paths(REPOSITORY / "plugins", safe_mode=False)] == ["tradu_plugin.py"]


def test_reading_the_plugin_and_a_dag_stays_cheap() -> None:
    """The heavy libraries are for tasks: no Airflow process may import them because it reads our files."""
    heavy = ("great_expectations", "pandas", "pyarrow", "distributed", "psycopg", "sentencex", "fxtranslate")
    code = (
        "import sys, runpy, airflow.sdk; before = set(sys.modules)\n"
        "runpy.run_path('plugins/tradu_plugin.py')\n"
        "import tradu_airflow.operators, tradu_airflow.stages, tradu_airflow.triggers\n"
        f"print([m for m in {heavy!r} if m in set(sys.modules) - before])"
    )
    env = {**os.environ, "PYTHONPATH": f"{REPOSITORY / 'tasks'}:{REPOSITORY / 'plugins'}"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
    assert importlib.util.find_spec("tradu_airflow")
