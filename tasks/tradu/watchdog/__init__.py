"""Watchdogs: find what is lost, stuck or slow, set right what can be, and tell people the rest, through the ledger."""

from __future__ import annotations

from datetime import UTC, datetime

from tradu.cluster.warm import warm
from tradu.errors import TransientError
from tradu.ledger import partitions, rewind
from tradu.ledger.connection import get_ledger
from tradu.settings import get_settings
from tradu.store import Store
from tradu.watchdog import blocks, database, instances, orphans, pipeline

PARTITIONS_SECONDS = 600


class AttentionError(TransientError):
    """Something needs a person: `tradu incidents` lists what the watchdog has seen."""


def look() -> dict[str, int]:
    """One round of the watchdogs of instances, blocks, pipeline and database: what was found and done, by kind.

    Raises:
        LedgerRewoundError: the ledger is older than the store.
        StoreError: the store is away.
    """
    settings, ledger = get_settings(), get_ledger("watchdog")
    found = instances.look(ledger, settings) | blocks.look(ledger, settings) | pipeline.look(ledger)
    found |= database.look(ledger)
    found |= {"workers_warmed": len(warm(ledger, settings))}  # workers that came, or came back, while jobs run
    with ledger.transaction() as tx:
        is_time = tx.tuples("take_upkeep", name="partitions", seconds=PARTITIONS_SECONDS)
    found |= partitions.upkeep(ledger, datetime.now(UTC)) if is_time else {}
    rewind.check(ledger, Store(settings.store))  # last: the others need no store
    return found


def sweep() -> dict[str, int]:
    """One round of the watchdog of objects: what was found and removed."""
    settings, ledger = get_settings(), get_ledger("watchdog")
    rewind.check(ledger, Store(settings.store))
    return orphans.look(ledger, Store(settings.store), settings)


def tell() -> None:
    """Say what needs a person, each thing once in half an hour.

    Raises:
        AttentionError: something does; the message says what.
    """
    if said := pipeline.alerts(get_ledger("watchdog"), get_settings()):
        raise AttentionError("; ".join(said))
