"""Which blocks a candidate gets: by a hash of what the block is, so that a block keeps its side."""

from __future__ import annotations

import hashlib

from tradu.ledger.rollouts import Side

_RANGE = 2**64


def position(rollout_id: int, document_id: str, number: int, target: str) -> float:
    """Where a block stands between 0 and 1 in a rollout: the same in every job, attempt and step."""
    whole = f"{rollout_id}\0{document_id}\0{number}\0{target}"
    return int.from_bytes(hashlib.blake2b(whole.encode(), digest_size=8).digest()) / _RANGE


def side(where: float, share: float) -> Side | None:
    """The side of a block: the candidate's from the low end, as many for comparison from the high end; None: neither.

    As the share grows blocks only ever come to the candidate, and the middle ones and then the control's shrink.
    """
    if where < share:
        return Side.CANDIDATE
    return Side.CONTROL if where >= 1 - share else None
