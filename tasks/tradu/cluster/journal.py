"""Keeps what feeders decide: notes it at once, and writes it into the ledger from a thread of its own.

The scheduler's loop waits for nobody, and a ledger that is away costs it nothing: notes wait, the oldest make room.
What was noted within the last seconds is lost with the scheduler; nothing but people rests on it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import psycopg
from psycopg.conninfo import make_conninfo

from tradu.cluster.window import GROWS, Change
from tradu.errors import TraduError
from tradu.ledger.connection import TCP, Transaction
from tradu.settings import get_settings

log = logging.getLogger(__name__)
WRITE_SECONDS = 5.0
"""So long what is noted is gathered."""
MOST = 1_000
"""More notes don't wait."""
Submission = tuple[str, int, int]
"""Job, shard and epoch."""


@dataclass(slots=True)
class _Note:
    of: Submission
    pool: str
    number: int
    at: float
    change: Change


class Journal:
    """The notes of a scheduler. `note` and `close` are for its loop."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Decisions by rule."""
        self._notes: deque[_Note] = deque(maxlen=MOST)
        self._last: dict[tuple[Submission, str], _Note] = {}
        self._number = 0
        self._lost = 0
        self._lock = threading.Lock()
        self._noted, self._ended = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, of: Submission, pool: str, change: Change) -> None:
        """Keep a decision. One that grows, after one of the same shard and pool that does and waits yet, adds to it."""
        self.counts[change.rule] += 1
        with self._lock:
            last = self._last.get((of, pool))
            if last is not None and last.change.rule == change.rule == GROWS:
                last.change, last.at = replace(change, before=last.change.before), time.monotonic()
            else:
                self._lost += len(self._notes) == MOST
                self._last[of, pool] = _Note(of, pool, self._number, time.monotonic(), change)
                self._notes.append(self._last[of, pool])
                self._number += 1
        if self._thread is None:
            # a daemon: where the ledger is away, the scheduler ends without it
            self._thread = threading.Thread(target=self._run, name="tradu-journal", daemon=True)
            self._thread.start()
        self._noted.set()

    def close(self) -> None:
        """Have the thread end, when it has written what it is at."""
        self._ended.set()
        self._noted.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._noted.wait()
            self._ended.wait(WRITE_SECONDS)
            self._noted.clear()
            try:
                self._write()
            except (TraduError, psycopg.Error, OSError) as error:
                log.warning("%d decisions wait for the ledger: %s", len(self._notes), error)
                self._noted.set()

    def _write(self) -> None:
        with self._lock:
            notes, self._last, lost, self._lost = list(self._notes), {}, self._lost, 0
        if lost:
            log.warning("%d decisions had to make room, and are not in the ledger", lost)
        if notes:
            _add(notes)
            with self._lock:
                while self._notes and self._notes[0].number <= notes[-1].number:
                    self._notes.popleft()


def _add(notes: Sequence[_Note]) -> None:
    # a connection for each time: they are far apart
    ledger = make_conninfo(get_settings().ledger_dsn, application_name="dask-scheduler", **TCP)
    with psycopg.connect(ledger) as connection:
        now = time.monotonic()
        Transaction(connection).run(
            "add_feed_decisions",
            job_ids=[UUID(n.of[0]) for n in notes],
            shards=[n.of[1] for n in notes],
            epochs=[n.of[2] for n in notes],
            numbers=[n.number for n in notes],
            ages=[now - n.at for n in notes],
            pools=[n.pool for n in notes],
            befores=[n.change.before for n in notes],
            limits=[n.change.limit for n in notes],
            rules=[n.change.rule for n in notes],
            reasons=[n.change.why for n in notes],
            inputs=[json.dumps(n.change.inputs) for n in notes],
        )
