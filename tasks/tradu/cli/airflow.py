"""A small client of Airflow's REST API: sign in, trigger, watch and stop runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from graphlib import TopologicalSorter
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from tradu.errors import RequestError, SystemicError
from tradu.settings import Settings

ENDED = frozenset({"success", "failed"})
PAGE = 100
DAG_SECONDS = 90.0
"""How long a DAG may be unknown: the DAG processor reads the files some time after it was started."""
_UNAUTHORISED = 401
_NOT_FOUND = 404
_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Run:
    """A DAG run."""

    run_id: str
    state: str
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether nothing of it will run any more."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class TaskInstance:
    """A task of a run; `map_index` is -1 where the task is not mapped."""

    task_id: str
    map_index: int
    state: str | None
    started_at: datetime | None
    ended_at: datetime | None
    attempt: int


class AirflowClient:
    """Calls one Airflow API as one user. The token is fetched when it is needed, and again when it has expired."""

    def __init__(self, url: str, user: str, password: str, timeout_seconds: float = 30) -> None:
        self.url, self.user = url.rstrip("/"), user
        self._password, self._token = password, ""
        # a proxy of the environment does not lead to a server of this machine
        remote = urlsplit(self.url).hostname not in _LOCAL_NAMES
        self._http = httpx.Client(base_url=self.url, timeout=timeout_seconds, trust_env=remote)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def sign_in(self) -> None:
        """Fetch a token.

        Raises:
            RequestError: the password is wrong.
            SystemicError: the API can't be reached.
        """
        reply = self._send("POST", "/auth/token", json={"username": self.user, "password": self._password})
        if reply.status_code == _UNAUTHORISED:
            raise RequestError(
                f"{self.url} refuses user {self.user!r}: set TRADU_API_USER and TRADU_API_PASSWORD to an account of it"
            )
        self._token = str(_checked(reply).json()["access_token"])

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **content)
        except httpx.TransportError as error:
            raise SystemicError(
                f"the Airflow API at {self.url} can't be reached ({error or type(error).__name__}): "
                "start the stack with `tradu up`, or see `tradu doctor`"
            ) from error

    def call(self, method: str, path: str, **content: Any) -> Any:
        """One call below /api/v2; the JSON that came back.

        Raises:
            RequestError: the API refuses the request; the message is the API's.
            SystemicError: the API can't be reached, or failed.
        """
        return _checked(self._call(method, path, **content)).json()

    def _call(self, method: str, path: str, **content: Any) -> httpx.Response:
        if not self._token:
            self.sign_in()
        reply = self._authorised(method, path, **content)
        if reply.status_code == _UNAUTHORISED:  # the token has expired
            self.sign_in()
            reply = self._authorised(method, path, **content)
        return reply

    def _authorised(self, method: str, path: str, **content: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token}"}
        return self._send(method, f"/api/v2{path}", headers=headers, **content)

    def wait_for_dag(
        self, dag: str, patience_seconds: float = DAG_SECONDS, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Wait until Airflow knows a DAG.

        Raises:
            SystemicError: it still doesn't after `patience_seconds`.
            RequestError: the DAG is paused: its runs would wait for ever.
        """
        deadline = time.monotonic() + patience_seconds
        while (reply := self._call("GET", f"/dags/{dag}")).status_code == _NOT_FOUND:
            if time.monotonic() > deadline:
                raise SystemicError(f"Airflow at {self.url} has no DAG {dag}: `tradu doctor` says why")
            sleep(1)
        if _checked(reply).json().get("is_paused"):
            raise RequestError(f"the DAG {dag} is paused: unpause it at {self.url}/dags/{dag}")

    def trigger(self, dag: str, conf: Mapping[str, Any]) -> str:
        """Start a run of a DAG now; its run id.

        Raises:
            RequestError: the conf does not fit the DAG's params; the message says which and why.
        """
        body = {"logical_date": None, "conf": dict(conf)}
        return str(self.call("POST", f"/dags/{dag}/dagRuns", json=body)["dag_run_id"])

    def run(self, dag: str, run_id: str) -> Run:
        """A run as it is now.

        Raises:
            RequestError: there is no such run.
        """
        row = self.call("GET", _run_path(dag, run_id))
        return Run(row["dag_run_id"], row["state"], _time(row["start_date"]), _time(row["end_date"]))

    def task_instances(self, dag: str, run_id: str) -> list[TaskInstance]:
        """Every task instance of a run."""
        found: list[TaskInstance] = []
        while True:
            where = {"limit": PAGE, "offset": len(found)}
            page = self.call("GET", f"{_run_path(dag, run_id)}/taskInstances", params=where)
            found += [_task_instance(row) for row in page["task_instances"]]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def task_order(self, dag: str) -> list[str]:
        """The tasks of a DAG, each after those it waits for."""
        tasks = self.call("GET", f"/dags/{dag}/tasks")["tasks"]
        before: dict[str, list[str]] = {task["task_id"]: [] for task in tasks}
        for task in tasks:
            for after in task["downstream_task_ids"] or ():
                before[after].append(task["task_id"])
        return list(TopologicalSorter(before).static_order())

    def last_error(self, dag: str, run_id: str, task: TaskInstance) -> str | None:
        """The message of the exception that ended an attempt at a task, from its log; None where there is none."""
        path = f"{_run_path(dag, run_id)}/taskInstances/{quote(task.task_id, safe='')}/logs/{task.attempt}"
        where = {"map_index": task.map_index, "full_content": "true"}
        reply = self._call("GET", path, params=where, timeout=10)
        lines = reply.json().get("content", []) if reply.is_success else []
        for line in reversed(lines):
            for detail in reversed((line.get("error_detail") or []) if isinstance(line, dict) else []):
                if message := str(detail.get("exc_value") or "").strip():
                    return message
        return None

    def fail(self, dag: str, run_id: str) -> bool:
        """Stop a run by marking it failed; false where it has ended already, or is gone."""
        reply = self._call("GET", _run_path(dag, run_id))
        if reply.status_code == _NOT_FOUND or _checked(reply).json()["state"] in ENDED:
            return False
        self.call("PATCH", _run_path(dag, run_id), json={"state": "failed"})
        return True

    def run_url(self, dag: str, run_id: str) -> str:
        """Where the run is seen in a browser."""
        return f"{self.url}/dags/{dag}/runs/{quote(run_id, safe='')}"


def connect(settings: Settings) -> AirflowClient:
    """A client for the API of the settings, signed in.

    Raises:
        RequestError: the password is wrong.
        SystemicError: the API can't be reached, or there is no password because no stack was set up.
    """
    from tradu.stack.airflow_config import api_password
    from tradu.stack.layout import Layout

    layout = Layout(settings)
    if settings.api_password is None and not layout.home.is_dir():
        raise SystemicError(
            "there is no stack yet: start one with `tradu up`, or set TRADU_API_URL and TRADU_API_PASSWORD"
        )
    client = AirflowClient(settings.api_url, settings.api_user, api_password(layout))
    client.sign_in()
    return client


def _run_path(dag: str, run_id: str) -> str:
    return f"/dags/{dag}/dagRuns/{quote(run_id, safe='')}"


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _task_instance(row: Mapping[str, Any]) -> TaskInstance:
    return TaskInstance(
        row["task_id"],
        row["map_index"],
        row["state"],
        _time(row["start_date"]),
        _time(row["end_date"]),
        row["try_number"],
    )


def _checked(reply: httpx.Response) -> httpx.Response:
    if reply.is_success:
        return reply
    said = f"Airflow answers {reply.status_code} to {reply.request.method} {reply.request.url.path}: {_detail(reply)}"
    if reply.is_client_error:
        raise RequestError(said)
    raise SystemicError(said)


def _detail(reply: httpx.Response) -> str:
    """What the API says is wrong, in one line."""
    try:
        detail = reply.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return reply.text[:300].strip() or reply.reason_phrase
    if isinstance(detail, list):  # one entry per field that is wrong
        return "; ".join(f"{'.'.join(map(str, e.get('loc', ())))}: {e.get('msg')}" for e in detail)
    return " ".join(str(detail).split())
