"""Limits of claims: a bucket of characters for a tenant or a pool of workers, filling up by the database's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tradu.ledger.connection import Transaction

BURST_SECONDS = 10.0
"""What a limit lets through in this time may be claimed at once, after a while without claims."""
LEAST_WAIT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Bucket:
    """A limit as it stands."""

    name: str
    per_minute: float
    """Characters."""
    claimed: int
    """Characters so far."""
    refused: int
    """Claims that found nothing in it."""
    wait_seconds: float
    """Until something may be claimed; 0: now."""


def wait_seconds(tx: Transaction, limits: Mapping[str, float]) -> float:
    """How long a claim has to wait; 0: it may be made now, and nobody else claims under these limits until it is.

    Args:
        tx: the transaction of the claim.
        limits: characters a minute, by the names of the buckets.
    """
    names = sorted(limits)
    filled = tx.tuples(
        "refill_buckets", names=names, per_second=[limits[n] / 60 for n in names], burst_seconds=BURST_SECONDS
    )
    empty: dict[str, float] = {
        name: -characters / per_second for name, per_second, characters in filled if characters <= 0
    }
    if not empty:
        return 0.0
    tx.send("refused_by_buckets", names=sorted(empty))
    return max(LEAST_WAIT_SECONDS, *empty.values())


def take(tx: Transaction, limits: Mapping[str, float], characters: int) -> None:
    """Take from the buckets what was claimed."""
    tx.send("take_from_buckets", names=sorted(limits), characters=characters)


def standing(tx: Transaction) -> list[Bucket]:
    """The limits under which something was claimed in the last hour."""
    return tx.rows("claim_buckets", Bucket)
