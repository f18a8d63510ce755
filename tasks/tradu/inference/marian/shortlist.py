"""Lexical shortlists: for each source word the target words it may become (Mozilla's `lex.*.s2t.bin`)."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tradu.errors import ModelError

_MAGIC = 0xF11A48D5013417F5
_HEADER_BYTES = 48


@dataclass(frozen=True, slots=True)
class Shortlist:
    """The target words that each source word may become; both arrays lie in the mapped file."""

    first: int
    """So many of the most frequent target words are always allowed."""
    offsets: NDArray[np.uint64]
    """`words[offsets[w] : offsets[w + 1]]` belong to the source word `w`."""
    words: NDArray[np.uint32]


def read_shortlist(path: Path, target_words: int) -> Shortlist:
    """Map a shortlist for a target vocabulary of `target_words` words.

    Raises:
        ModelError: it is not a whole shortlist, or names words that are not in the vocabulary.
        OSError: it can't be read.
    """
    size = path.stat().st_size
    if size < _HEADER_BYTES:
        raise ModelError(f"{path}: {size} bytes are no shortlist")
    with path.open("rb") as stream:
        data = np.frombuffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
    magic, _, first, _, sources, count = (int(n) for n in data[:_HEADER_BYTES].view("<u8"))
    if magic != _MAGIC:
        raise ModelError(f"{path}: not a binary shortlist")
    if _HEADER_BYTES + 8 * sources + 4 * count != size:
        raise ModelError(
            f"{path}: a shortlist of {sources} source words and {count} entries would not have {size} bytes"
        )
    at = _HEADER_BYTES + 8 * sources
    offsets, words = data[_HEADER_BYTES:at].view("<u8"), data[at:].view("<u4")
    broken = (
        sources < 1
        or int(offsets[-1]) > count
        or bool((offsets[1:] < offsets[:-1]).any())
        or (count > 0 and int(words.max()) >= target_words)
        or not 0 < first <= target_words
    )
    if broken:
        raise ModelError(f"{path}: the shortlist is damaged, or belongs to another vocabulary")
    return Shortlist(first, offsets, words)
