"""A worker group of the Dask operator: its manifest against the operator's CRD, its scale against an HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest
import yaml

from tradu.cluster.scaling.kubernetes import GroupAgent, WorkerGroup
from tradu.errors import SystemicError
from tradu.ledger import pools
from tradu.ledger.connection import Ledger
from tradu.settings import get_settings

# of dask-kubernetes 2026.3.0 (helm chart, BSD-3-Clause), without its descriptions
CRD = Path(__file__).parents[2] / "fixtures" / "crds" / "daskworkergroup.json"
PATH = "/apis/kubernetes.dask.org/v1/namespaces/prod/daskworkergroups/tradu-cpu/scale"


class Api(BaseHTTPRequestHandler):
    """The scale subresource of one worker group, as the API server answers for it."""

    replicas: ClassVar[int] = 1
    patches: ClassVar[list[int]] = []
    refuses: ClassVar[bool] = False

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _scale(self) -> None:
        if self.refuses or self.headers["Authorization"] != "Bearer let-me-in":
            self._answer(403, {"kind": "Status", "code": 403, "message": "forbidden"})
        elif self.path != PATH:
            self._answer(404, {"kind": "Status", "code": 404})
        else:
            spec = {"replicas": Api.replicas} if Api.replicas else {}  # zero is left out, as by the API server
            self._answer(200, {"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": spec, "status": {}})

    def do_GET(self) -> None:
        self._scale()

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Content-Type"] != "application/merge-patch+json":
            self._answer(415, {"kind": "Status", "code": 415})
            return
        Api.replicas = body["spec"]["replicas"]
        Api.patches.append(Api.replicas)
        self._scale()

    def log_message(self, format: str, *args: object) -> None:
        """Not to stderr."""


@pytest.fixture
def group(tmp_path: Path) -> Iterator[WorkerGroup]:
    Api.replicas, Api.patches, Api.refuses = 1, [], False
    (tmp_path / "token").write_text("let-me-in\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield WorkerGroup(f"http://127.0.0.1:{server.server_port}", "prod", "tradu-cpu", tmp_path)
    server.shutdown()
    server.server_close()


def want(ledger: Ledger, wanted: int) -> None:
    with ledger.transaction() as tx:
        tx.run("want", pool="cpu", wanted=wanted, epoch=0, direction=0, changed_at=0.0, spare_since=None)


def test_the_group_has_what_is_wanted(ledger: Ledger, group: WorkerGroup) -> None:
    agent = GroupAgent(ledger, group, "cpu", most=4)
    assert agent.tick() == 1
    assert Api.patches == [], "nobody has decided anything"
    for wanted, replicas in ((3, 3), (3, 3), (9, 4), (0, 0)):
        want(ledger, wanted)
        assert agent.tick() == replicas
    assert Api.patches == [3, 4, 0], "only what differs is set"
    with ledger.transaction() as tx:
        (row,) = pools.agents(tx)
    assert (row.agent, row.prefix, row.capacity) == ("prod/tradu-cpu", "tradu-cpu-worker-", 4)


def test_a_new_agent_takes_nothing_away_on_an_old_decision(ledger: Ledger, group: WorkerGroup) -> None:
    want(ledger, 1)
    Api.replicas = 3
    agent = GroupAgent(ledger, group, "cpu", most=4)
    assert agent.tick() == 3
    want(ledger, 1)
    assert agent.tick() == 1


def test_what_the_api_refuses_is_said(ledger: Ledger, group: WorkerGroup) -> None:
    Api.refuses = True
    with pytest.raises(SystemicError, match=r"prod/tradu-cpu can't be scaled \(HTTP 403: .*forbidden"):
        GroupAgent(ledger, group, "cpu", most=4).tick()


def test_the_manifest_is_one_that_the_operator_takes() -> None:
    crd = json.loads(CRD.read_text())
    (version,) = crd["spec"]["versions"]
    text = (get_settings().include / "kubernetes" / "workers.yaml").read_text()
    manifests = {m["kind"]: m for m in yaml.safe_load_all(text)}
    found = manifests["DaskWorkerGroup"]
    assert found["apiVersion"] == f"{crd['spec']['group']}/{version['name']}"
    schema = closed(version["schema"]["openAPIV3Schema"])
    jsonschema.validate({"spec": found["spec"]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"spec": found["spec"] | {"workers": {}}}, schema)
    assert version["subresources"]["scale"]["specReplicasPath"] == ".spec.worker.replicas"
    container = manifests["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert container["args"][:4] == ["tradu", "agent", "--group", found["metadata"]["name"]]
    (rule,) = manifests["Role"]["rules"]
    assert rule["resources"] == [f"{crd['spec']['names']['plural']}/scale"]


def closed(schema: Any) -> Any:
    """A schema that refuses fields it does not know, which the API server would drop without a word."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    # `properties` may be the name of a property: a schema has a type beside it
    if isinstance(made.get("properties"), dict) and made.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made
