"""SentencePiece vocabularies: text to the ids of its pieces, and ids back to text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sentencepiece import SentencePieceProcessor

from tradu.errors import ModelError

_SPACE = "\u2581"


class Vocabulary:
    """A vocabulary of pieces; safe to share between threads."""

    def __init__(self, data: bytes, name: str) -> None:
        """Read the bytes of an `.spm` file; `name` is what errors call it.

        Raises:
            ModelError: they are no SentencePiece model, or one without an end of sentence.
        """
        try:
            self._processor = SentencePieceProcessor(model_proto=data)
            self._pieces = [self._spelling(i) for i in range(len(self))]
        except (RuntimeError, OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{name}: not a whole SentencePiece vocabulary ({error})") from error
        self.end = int(self._processor.eos_id())
        if self.end < 0:
            raise ModelError(f"{name}: the vocabulary has no end of sentence")

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read an `.spm` file.

        Raises:
            ModelError: it is no SentencePiece model.
            OSError: it can't be read.
        """
        return cls(path.read_bytes(), str(path))

    def __len__(self) -> int:
        """Pieces in the vocabulary."""
        return int(self._processor.vocab_size())

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text's pieces, without the end of sentence."""
        return [[int(i) for i in ids] for ids in self._processor.encode(list(texts))]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a sequence of ids; control pieces and the unknown one say nothing."""
        return "".join([self._pieces[i] for i in ids]).replace(_SPACE, " ").lstrip()

    def _spelling(self, piece: int) -> str:
        silent = self._processor.is_control(piece) or self._processor.is_unknown(piece)
        return "" if silent else str(self._processor.id_to_piece(piece))
