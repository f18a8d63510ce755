"""Notices a ledger that is older than the store, or another one, as after a bad fail-over: nothing is mixed then.

The store keeps a mark of how far the ledger has come (its tokens are drawn from a sequence that never goes back). A
ledger behind that mark has been restored to an older state: what it calls open may be done and delivered. Nothing is
claimed or delivered until a person has accepted it; its tokens then begin above those of the time it has forgotten.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

from tradu.errors import LedgerRewoundError, StoreError
from tradu.ledger.connection import Ledger
from tradu.ledger.incidents import IncidentKind, report
from tradu.store import Store

MARK_KEY = "ledger/mark.json"
WATCH_SECONDS = 5.0
SAY_AGAIN_SECONDS = 3_600.0
_watched: dict[tuple[str, str], float] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a ledger has come."""

    ledger_id: str
    generation: int
    token: int
    at: str


def now(ledger: Ledger) -> Mark:
    """Where the ledger is."""
    with ledger.transaction() as tx:
        ((ledger_id, generation, token, _),) = tx.tuples("ledger_identity")
    return Mark(str(ledger_id), generation, token, datetime.now(UTC).isoformat(timespec="seconds"))


def is_marked(store: Store) -> bool:
    """Whether the store itself is there, and not the empty folder that it was mounted on."""
    try:
        return store.exists(MARK_KEY)
    except (OSError, StoreError):
        return False


def known(ledger: Ledger, store: Store) -> Mark | None:
    """The mark in the store; None where there is none yet.

    Raises:
        StoreError: the store can't be reached, or has lost its mark.
    """
    try:
        return Mark(**json.loads(store.get(MARK_KEY)))
    except FileNotFoundError:
        with ledger.transaction() as tx:
            ((*_, marked),) = tx.tuples("ledger_identity")
        if store.is_there() and not marked:
            return None
        raise StoreError(f"the store is away, or not the one this ledger has worked with: {store.uri}") from None
    except OSError as error:
        raise StoreError(f"the store can't be read: {error}") from error


def difference(here: Mark, mark: Mark | None) -> str | None:
    """Why a ledger must not be worked with; None where all is well."""
    if mark is None:
        return None
    if here.ledger_id != mark.ledger_id:
        return f"the store belongs to another ledger (it was there at {mark.at})"
    if (here.generation, here.token) < (mark.generation, mark.token):
        return f"the ledger is older than the store: it was further at {mark.at} (token {mark.token}, now {here.token})"
    return None


def check(ledger: Ledger, store: Store) -> None:
    """Make sure that the ledger is not older than the store, and move the mark on.

    Raises:
        LedgerRewoundError: it is older, or another one.
        StoreError: the store can't be reached.
    """
    mark = known(ledger, store)  # before the ledger, which goes on meanwhile
    here = now(ledger)
    if problem := difference(here, mark):
        with ledger.transaction() as tx:
            report(
                tx,
                IncidentKind.LEDGER_REWOUND,
                problem,
                entity="ledger",
                entity_id=here.ledger_id,
                once_seconds=SAY_AGAIN_SECONDS,
            )
        raise LedgerRewoundError(
            f"{problem}: nothing is claimed or delivered. Restore the right one, or `tradu ledger accept` this one"
        )
    if mark is None or here.token > mark.token:
        _write(ledger, store, here)
    if mark is None:
        with ledger.transaction() as tx:
            tx.run("mark_ledger")


def _write(ledger: Ledger, store: Store, mark: Mark) -> None:
    """The tokens of transactions that have not committed may be lost in a crash: the mark must not be ahead of that."""
    with ledger.transaction() as tx:
        tx.run("flush_ledger")
    try:
        store.put(MARK_KEY, json.dumps(asdict(mark)).encode())
    except OSError as error:
        raise StoreError(f"the store takes nothing: {error}") from error


def watch(ledger: Ledger, store: Store) -> None:
    """`check`, but at most every few seconds in one process: for what is done again and again.

    Raises:
        LedgerRewoundError: the ledger is older than the store, or another one.
        StoreError: the store can't be reached.
    """
    place = (ledger.dsn, store.uri)
    with _lock:
        if time.monotonic() - _watched.get(place, float("-inf")) < WATCH_SECONDS:
            return
    check(ledger, store)
    with _lock:
        _watched[place] = time.monotonic()


def accept(ledger: Ledger, store: Store, by: str) -> Mark:
    """Go on with this ledger and this store: as a new generation, with tokens above all that the store has seen.

    Raises:
        StoreError: the store can't be reached.
    """
    try:
        mark = known(ledger, store)
    except StoreError:
        if not store.is_there():
            raise
        mark = None
    here = now(ledger)
    reason = difference(here, mark) or "the ledger was not behind the store"
    with ledger.transaction() as tx:
        tx.run(
            "renew_ledger",
            ledger_id=UUID(here.ledger_id) if mark is None or mark.ledger_id == here.ledger_id else uuid4(),
            generation=max(here.generation, mark.generation if mark else 0) + 1,
            token=max(here.token, mark.token if mark else 0),
        )
        report(tx, IncidentKind.LEDGER_RENEWED, f"accepted by {by}: {reason}", entity="ledger")
    renewed = now(ledger)
    _write(ledger, store, renewed)
    with ledger.transaction() as tx:
        tx.run("mark_ledger")
    return renewed
