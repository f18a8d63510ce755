"""Keeps the leases of a worker alive, from a process of its own that no engine can starve.

The worker starts it and says over a pipe what it holds; the process extends those leases as long as the worker lives.
It ends with the worker (the pipe closes), and it extends nothing for a worker that is stopped (SIGSTOP, a debugger) or
has held one batch for too long: then the leases run out and another worker takes the blocks. A worker whose thread does
not come back even then hangs: it is killed, since Dask would count on it for ever, and its keeper starts it again.

The process answers with what is held no longer: where no lease of a batch is left, since its job was cancelled or
others have taken its blocks over, nobody wants the rest of that work. Only the ledger's word counts for that.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from uuid import UUID

import psutil

from tradu.errors import SystemicError
from tradu.ledger.connection import Ledger
from tradu.ledger.incidents import IncidentKind, report
from tradu.settings import get_settings

log = logging.getLogger(__name__)
BEATS_PER_LEASE = 3
RESTART_SECONDS = 1.0
LEASES_TO_HANG = 4
"""A batch that is held for so many leases after its time was over does not come back."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a worker holds: the tokens of the blocks of one batch, and until when it may at most."""

    job_id: str
    batch: int
    tokens: list[int]
    until: float
    """By the machine's monotonic clock, which both processes read."""

    @property
    def name(self) -> int:
        """A token is given out once, so the first one names what is held as no other batch ever is."""
        return self.tokens[0]


class Heartbeat:
    """The worker's end of the pipe. One a process; used from any thread, one batch at a time per thread."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self._lock = threading.Lock()
        self._held: dict[int, tuple[Held, threading.Event]] = {}
        self._closed = False
        self._process = self._start()
        atexit.register(self.close)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tradu.cluster.heartbeat", self.instance]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self._listen, args=(process,), name="heartbeat", daemon=True).start()
        return process

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """Pass on what a process says, as long as it lives. Where it was killed another one takes its place at once, or
        the leases of a long batch would run out."""
        for line in process.stdout or ():
            for held, unwanted in list(self._held.values()):
                if line.strip() == str(held.name).encode():
                    unwanted.set()
        process.wait()
        time.sleep(RESTART_SECONDS)
        if not self._closed:
            with suppress(SystemicError):
                self._say()

    def hold(self, held: Held) -> threading.Event:
        """From now on, extend these leases; what is set when none of them is held any more.

        Raises:
            SystemicError: the process that extends them has ended and can't be started again.
        """
        unwanted = threading.Event()
        self._held[threading.get_ident()] = held, unwanted
        self._say()
        return unwanted

    def release(self) -> None:
        """Nothing is held any more by this thread."""
        self._held.pop(threading.get_ident(), None)
        self._say()

    def _say(self) -> None:
        with self._lock:
            said = json.dumps([asdict(held) for held, _ in list(self._held.values())]).encode() + b"\n"
            try:
                self._write(said)
            except OSError:  # it was killed: another one takes its place
                log.warning("the heartbeat process of this worker has ended, and is started again")
                self._process = self._start()
                try:
                    self._write(said)
                except OSError as error:
                    raise SystemicError("the heartbeat process of this worker can't be started") from error

    def _write(self, said: bytes) -> None:
        stream = self._process.stdin
        if stream is None or self._process.poll() is not None:
            raise BrokenPipeError
        stream.write(said)
        stream.flush()

    def close(self) -> None:
        """End the process."""
        self._closed = True
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._process.wait(timeout=10)


def farewell(ledger: Ledger, instance: str, held: list[Held]) -> None:
    """The instance has ended: what it still held is free at once, and does not wait for its leases to run out."""
    with ledger.transaction() as tx:
        if not held:
            tx.run("leave_instance", instance_id=instance)
            return
        tx.run("lose_instance", instance_id=instance)
        freed = tx.run("free_leases_of", instances=[instance])
        report(
            tx,
            IncidentKind.INSTANCE_LOST,
            f"ended with {freed} blocks in hand: they are free",
            entity="instance",
            entity_id=instance,
        )


def beat(ledger: Ledger, instance: str, held: list[Held], lease_seconds: float) -> list[Held]:
    """Extend the leases held, and say that the instance is alive; that of which no lease is left."""
    unwanted = []
    with ledger.transaction() as tx:
        tx.run("see_instance", instance_id=instance, kind=instance.split("@", maxsplit=1)[0])
        for one in held:
            if one.until > time.monotonic():
                batch = {"job_id": UUID(one.job_id), "batch": one.batch, "tokens": one.tokens}
                # what is locked is not extended, and is held all the same
                if not tx.run("extend", lease_seconds=lease_seconds, **batch) and not tx.tuples("still_held", **batch):
                    unwanted.append(one)
    return unwanted


def _is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)


class _Pipe:
    """The process's end of the pipe. It reads the descriptor itself: what a buffered stream has read ahead, `select`
    does not see."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._read = descriptor, b""

    def newest(self, seconds: float) -> list[Held] | None:
        """The newest thing the worker said within the time; None where it said nothing.

        Raises:
            EOFError: the worker has ended.
        """
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        if not ready:
            return None
        data = os.read(self._descriptor, 1 << 20)
        if not data:
            raise EOFError
        *lines, self._read = (self._read + data).split(b"\n")
        return [Held(**held) for held in json.loads(lines[-1])] if lines else None


def main(instance: str) -> None:
    """Beat until the worker ends."""
    # meant for the worker: the supervisor sends it to all of its group, and who is to say farewell would be gone first
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    settings = get_settings()
    ledger, parent = Ledger(settings.ledger_dsn, instance), psutil.Process(os.getppid())
    held: list[Held] = []
    pipe = _Pipe(sys.stdin.fileno())
    pause = settings.lease_seconds / BEATS_PER_LEASE
    due = 0.0
    while True:
        try:
            said = pipe.newest(max(0.0, due - time.monotonic()))
        except EOFError:
            break
        if said is not None:
            held = said
            continue
        due = time.monotonic() + pause
        try:
            if _is_running(parent):
                if any(time.monotonic() > one.until + LEASES_TO_HANG * settings.lease_seconds for one in held):
                    log.error("%s does not come back from a batch whose time is over: it is killed", instance)
                    parent.kill()
                for one in beat(ledger, instance, held, settings.lease_seconds):
                    os.write(sys.stdout.fileno(), f"{one.name}\n".encode())
        except psutil.NoSuchProcess:
            break
        except Exception as error:  # the ledger may be away for a while; the next beat tries again
            log.warning("no heartbeat: %s", error)
    with suppress(Exception):  # where the ledger is away the leases run out by themselves
        farewell(ledger, instance, held)


if __name__ == "__main__":
    main(sys.argv[1])
