"""The agent of a worker group of the Dask operator: sets the group's replicas to what the ledger wants.

It runs in the cluster and speaks to the Kubernetes API with its pod's service account. The operator starts the pods;
those that shall go it retires at the scheduler first (its HTTP API or its RPC).
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
from pathlib import Path

import httpx
import psycopg

from tradu.errors import RequestError, SystemicError, TraduError
from tradu.ledger import pools
from tradu.ledger.connection import Ledger

log = logging.getLogger(__name__)
TICK_SECONDS = 1.0
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_GROUPS = "/apis/kubernetes.dask.org/v1/namespaces/{namespace}/daskworkergroups/{name}/scale"


class WorkerGroup:
    """The scale of one `DaskWorkerGroup`, over the Kubernetes API at `url`; `account` holds token and certificate."""

    def __init__(self, url: str, namespace: str, name: str, account: Path = ACCOUNT) -> None:
        self.namespace, self.name = namespace, name
        self._url = url.rstrip("/") + _GROUPS.format(namespace=namespace, name=name)
        self._token = account / "token"
        certificate = account / "ca.crt"
        context: ssl.SSLContext | bool = (
            ssl.create_default_context(cafile=certificate) if certificate.is_file() else True
        )
        self._client = httpx.Client(verify=context, timeout=5, trust_env=False)

    def replicas(self) -> int:
        """The workers that the group shall have by now.

        Raises:
            SystemicError: the API can't be reached, or refuses; the message says why.
        """
        return int(self._ask("GET", None)["spec"].get("replicas", 0))

    def scale(self, replicas: int) -> None:
        """Set the workers that the group shall have.

        Raises:
            SystemicError: the API can't be reached, or refuses; the message says why.
        """
        self._ask("PATCH", {"spec": {"replicas": replicas}})

    def _ask(self, method: str, body: object) -> dict[str, dict[str, int]]:
        # read each time: Kubernetes replaces it every hour
        headers = {"Authorization": f"Bearer {self._token.read_text().strip()}"}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json"
        try:
            reply = self._client.request(method, self._url, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise SystemicError(f"the Kubernetes API can't be reached: {error}") from error
        if not reply.is_success:
            said = f"HTTP {reply.status_code}: {reply.text[:200]}"
            raise SystemicError(f"worker group {self.namespace}/{self.name} can't be scaled ({said})")
        found: dict[str, dict[str, int]] = reply.json()
        return found


def group_here(name: str) -> WorkerGroup:
    """The worker group of this name in the namespace that this process runs in.

    Raises:
        RequestError: this process runs in no pod.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (ACCOUNT / "namespace").is_file():
        raise RequestError("--group is for an agent that runs in a pod of the cluster, with a service account")
    at = f"[{host}]" if ":" in host else host
    return WorkerGroup(f"https://{at}:{port}", (ACCOUNT / "namespace").read_text().strip(), name)


class GroupAgent:
    """The agent of one worker group, which may have `most` workers."""

    def __init__(self, ledger: Ledger, group: WorkerGroup, pool: str, most: int) -> None:
        self._ledger, self._group, self._pool, self._most = ledger, group, pool, most
        self._name = f"{group.namespace}/{group.name}"
        self._first = True

    def run(self, ended: threading.Event) -> None:
        """Tick until the event is set."""
        while not ended.is_set():
            try:
                self.tick()
            except (TraduError, psycopg.Error, OSError) as error:  # the next tick tries again; workers stay as they are
                log.warning("workers stay as they are: %s", error)
            ended.wait(TICK_SECONDS)

    def tick(self) -> int:
        """Set the replicas where they differ from this group's share; what they are now.

        Raises:
            SystemicError: the ledger or the Kubernetes API can't be reached.
        """
        has = self._group.replicas()
        said = {"prefix": f"{self._group.name}-worker-", "capacity": self._most, "to_roll": 0}  # the operator's names
        with self._ledger.transaction() as tx:
            tx.run("see_agent", agent=self._name, pool=self._pool, running=has, first=self._first, **said)
            pool = pools.pools(tx).get(self._pool)
            agents = [agent for agent in pools.agents(tx) if agent.pool == self._pool]
        self._first = False
        wanted = pools.share(self._name, pool, agents, has)
        if wanted != has:
            log.info("worker group %s: %d -> %d replicas", self._name, has, wanted)
            self._group.scale(wanted)
        return wanted
