"""Identifiers: jobs are UUIDv7 (RFC 9562), so a job's month is in its id; block ids are computed, never drawn."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from uuid import UUID

_MILLISECONDS_SHIFT = 80
_VERSION = {7: 0x7 << 76, 8: 0x8 << 76}
_VARIANT = 0b10 << 62


def _assemble(milliseconds: int, payload: bytes, version: int) -> UUID:
    """48 bits of time, version, 12 bits, variant, 62 bits (RFC 9562, sections 5.7 and 5.8)."""
    bits = int.from_bytes(payload[:10], "big")
    high, low = (bits >> 62) & 0xFFF, bits & ((1 << 62) - 1)
    return UUID(int=(milliseconds << _MILLISECONDS_SHIFT) | _VERSION[version] | (high << 64) | _VARIANT | low)


def new_job_id(now: datetime, randomness: bytes) -> UUID:
    """A UUIDv7 from a time and 10 random bytes."""
    return _assemble(int(now.timestamp() * 1000), randomness, 7)


def first_of(moment: datetime) -> UUID:
    """The lowest UUID of a moment: where the range of a partition that begins with it begins."""
    return UUID(int=int(moment.timestamp() * 1000) << _MILLISECONDS_SHIFT)


def created_at(identifier: UUID) -> datetime:
    """The time a job or block id carries."""
    return datetime.fromtimestamp((identifier.int >> _MILLISECONDS_SHIFT) / 1000, UTC)


def block_id(job_id: UUID, document_id: str, target: str, number: int) -> UUID:
    """The id of a block: the job's time and a hash of what the block is, so that a second partition finds the same.

    It is a UUIDv8 that shares its first 48 bits with the job's id: the block alone leads to its partition.
    """
    name = f"{job_id}\0{document_id}\0{target}\0{number}".encode()
    return _assemble(job_id.int >> _MILLISECONDS_SHIFT, hashlib.blake2b(name, digest_size=10).digest(), 8)


def same_time_range(identifier: UUID) -> tuple[UUID, UUID]:
    """Lowest and highest UUID of the same millisecond: where the job of a block must lie."""
    low = (identifier.int >> _MILLISECONDS_SHIFT) << _MILLISECONDS_SHIFT
    return UUID(int=low), UUID(int=low | ((1 << _MILLISECONDS_SHIFT) - 1))
