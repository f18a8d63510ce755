"""Talking to supervisord: starting it, asking it, telling it what to start and stop."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ProtocolError, ServerProxy

import psutil
from supervisor.xmlrpc import SupervisorTransport

from tradu.errors import SystemicError
from tradu.stack.layout import Layout

_ALREADY_STARTED, _NOT_RUNNING = 60, 70
RUNNING, STOPPING = "RUNNING", "STOPPING"
_DOWN = frozenset({"STOPPED", STOPPING})


@dataclass(frozen=True)
class ProcessState:
    """What supervisord says of one service."""

    name: str
    state: str
    pid: int | None
    uptime_seconds: float
    was_started: bool
    """Since the supervisor runs."""

    @property
    def is_up(self) -> bool:
        """Whether the supervisor keeps it running, though it may just be starting it again."""
        return self.state not in _DOWN

    @property
    def rests(self) -> bool:
        """Whether it was stopped on purpose."""
        return self.was_started and not self.is_up


class Supervisor:
    """The supervisor of one stack, over its private socket."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    @property
    def _rpc(self) -> Any:
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._layout.socket}")
        return ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def pid(self) -> int | None:
        """Its process id; None when it does not answer."""
        try:
            return int(self._rpc.getPID())
        except (OSError, ProtocolError, Fault):
            return None

    def start(self, config: Path, environment: Mapping[str, str]) -> None:
        """Start supervisord as a daemon and wait until it answers.

        Raises:
            SystemicError: it did not start; the message holds what it said.
        """
        self._layout.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)],
            env=dict(environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        if done.returncode:
            raise SystemicError(f"supervisord did not start: {(done.stderr or done.stdout).strip()[-600:]}")
        deadline = time.monotonic() + 10
        while self.pid() is None:
            if time.monotonic() > deadline:
                raise SystemicError(f"supervisord does not answer: see {self._layout.logs}/supervisord.log")
            time.sleep(0.05)

    def states(self) -> list[ProcessState]:
        """Every service; empty when the supervisor does not run."""
        try:
            rows = self._rpc.getAllProcessInfo()
        except (OSError, ProtocolError, Fault):
            return []
        return [
            ProcessState(
                row["name"],
                row["statename"],
                row["pid"] or None,
                max(0.0, row["now"] - row["start"]) if row["statename"] == RUNNING else 0.0,
                row["start"] > 0,
            )
            for row in rows
        ]

    def start_service(self, group: str, name: str) -> None:
        """Start a service without waiting for it; nothing where it runs already."""
        try:
            self._rpc.startProcess(f"{group}:{name}", False)
        except Fault as fault:
            if fault.faultCode != _ALREADY_STARTED:
                raise SystemicError(f"supervisord can't start {name}: {fault.faultString}") from fault

    def stop_service(self, group: str, name: str) -> None:
        """Stop a service without waiting for it; nothing where it does not run."""
        try:
            self._rpc.stopProcess(f"{group}:{name}", False)
        except Fault as fault:
            if fault.faultCode != _NOT_RUNNING:
                raise SystemicError(f"supervisord can't stop {name}: {fault.faultString}") from fault

    def shutdown(self, timeout_seconds: float) -> bool:
        """Stop every service, in order, and the supervisor; False when it did not end in time."""
        pid = self.pid()
        if pid is None:
            return True
        try:
            process = psutil.Process(pid)
            self._rpc.shutdown()
            process.wait(timeout_seconds)
        except (psutil.NoSuchProcess, OSError, ProtocolError, Fault):
            return True
        except psutil.TimeoutExpired:
            return False
        return True
