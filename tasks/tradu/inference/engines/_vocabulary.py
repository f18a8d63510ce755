"""Which characters a SentencePiece vocabulary can spell; everything else is lost in the model."""

from __future__ import annotations

from collections.abc import Iterator

_NORMAL, _USER_DEFINED = 1, 4


def alphabet(vocabulary: bytes) -> frozenset[str]:
    """The characters of the pieces of a SentencePiece model (sentencepiece_model.proto: `pieces` is field 1).

    Raises:
        ValueError: not a SentencePiece model.
    """
    characters: set[str] = set()
    try:
        for number, piece in _fields(vocabulary):
            if number == 1 and isinstance(piece, bytes):
                parts = dict(_fields(piece))
                text, kind = parts.get(1), parts.get(3, _NORMAL)
                if isinstance(text, bytes) and kind in (_NORMAL, _USER_DEFINED):
                    characters.update(text.decode())
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"not a SentencePiece vocabulary: {error}") from error
    if not characters:
        raise ValueError("not a SentencePiece vocabulary: no pieces in it")
    return frozenset(characters)


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a protocol buffer message: number, and bytes or integer."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"not a SentencePiece vocabulary: wire type {kind}")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
