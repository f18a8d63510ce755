"""Watchdogs: find what is lost, stuck or slow, set right what can be, and tell people the rest, through the ledger."""

from __future__ import annotations

from tradu.errors import TransientError
from tradu.ledger import rewind
from tradu.ledger.connection import get_ledger
from tradu.settings import get_settings
from tradu.store import Store
from tradu.watchdog import blocks, instances, orphans, pipeline


class AttentionError(TransientError):
    """Something needs a person: `tradu incidents` lists what the watchdog has seen."""


def look() -> dict[str, int]:
    """One round of all watchdogs: what was found and done, by kind.

    Raises:
        LedgerRewoundError: the ledger is older than the store.
    """
    settings, ledger = get_settings(), get_ledger("watchdog")
    store = Store(settings.store)
    rewind.check(ledger, store)
    found = instances.look(ledger, settings) | blocks.look(ledger, settings) | pipeline.look(ledger)
    return found | orphans.look_when_due(ledger, store, settings)


def tell() -> None:
    """Say what needs a person now.

    Raises:
        AttentionError: something does; the message says what.
    """
    if said := pipeline.alerts(get_ledger("watchdog"), get_settings()):
        raise AttentionError("; ".join(said))
