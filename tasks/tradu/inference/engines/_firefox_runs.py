"""The ways to run a Firefox model: in batches, on our kernel or a GPU, or one by one with Mozilla's engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tradu.errors import ModelError
from tradu.inference.marian import Files, Translator, pieces_that_fit


class Runs(Protocol):
    """Translates plain pieces of text."""

    def run(self, texts: Sequence[str]) -> list[str]:
        """Translate each piece.

        Raises:
            ModelError: the engine failed.
        """
        ...


class Batches:
    """All pieces of a call side by side, on our kernel or on a device of PyTorch."""

    def __init__(self, files: Files, threads: int = 1, device: str | None = None) -> None:
        self._translator = Translator(files, threads=threads, device=device)

    def run(self, texts: Sequence[str]) -> list[str]:
        """Translate each piece, what has too many tokens for the model in smaller ones."""
        distinct = list(dict.fromkeys(texts))
        cut = pieces_that_fit(self._translator, distinct)
        made = iter(self._translator.translate([piece.strip() for pieces in cut for piece in pieces]))
        translated = {
            text: "".join(space_of(piece, next(made).text) for piece in pieces)
            for text, pieces in zip(distinct, cut, strict=True)
        }
        return [translated[text] for text in texts]


class Sentences:
    """Mozilla's engine, fxtranslate. Bound to the thread that made it, as its translator is."""

    def __init__(self, name: str, files: Files) -> None:
        from fxtranslate import Translator as Reference

        self._name = name
        source, target = files.source_vocabulary.read_bytes(), files.target_vocabulary.read_bytes()
        shortlist = files.shortlist.read_bytes() if files.shortlist else None
        self._translator = Reference(files.model.read_bytes(), source, target, shortlist)

    def run(self, texts: Sequence[str]) -> list[str]:
        """Translate each piece."""
        try:
            return [str(self._translator.translate(text)) for text in texts]
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the Rust engine derives from BaseException
            raise ModelError(f"{self._name}: engine failed: {error}") from error


def space_of(part: str, translated: str) -> str:
    """The translation between the space that stood around its source."""
    lead, trail = len(part) - len(part.lstrip()), len(part.rstrip())
    return f"{part[:lead]}{translated.strip()}{part[trail:]}" if part.strip() else part
