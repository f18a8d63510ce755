"""What a worker says of a batch when it is done with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Report:
    """What a call of `run_batch` has done."""

    accepted: int = 0
    """Blocks that it brought to a result."""
    failed: int = 0
    """Blocks whose attempt failed for another reason than their own content."""
    characters: int = 0
    """Of source text in the blocks that it had."""
    seconds: float = 0.0
    """It worked, without waiting for blocks that others hold."""
    downstream_seconds: float = 0.0
    """Of these: at the store and the ledger."""
    come_again_seconds: float = 0.0
    """A limit of claims let nothing through: the ledger says when to come again; 0: it wasn't that."""
    gone: bool = False
    """The job does not run, or has no such batch."""
    handed_on: tuple[tuple[int, str], ...] = ()
    """Batches in which blocks of it wait for tiers of other pools now, with those pools."""
