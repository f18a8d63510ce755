"""Text as people write it, through a model that reads short plain sentences: cut, spelt out, masked, and put back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tradu.errors import ModelError
from tradu.inference import clauses, codes, typography
from tradu.inference.made import Likelihood, Made, joined

LONGEST_CHARS = 300
"""Longest piece in one call: from about 480 characters on, text is cut off or repeated without a word."""
LONGEST_WORD_CHARS = 60
"""What is longer is no word but a key, a hash or encoded data, and costs seconds."""
_WORD = re.compile(rf"{codes.CODE}|\s+|\w+|[^\w\s]")
_PARAGRAPH = re.compile(r"(\s*\n\s*\n\s*|\t+|(?<=[.!?:;])[^\S\n]*\n\s*)")


class Runs(Protocol):
    """Translates plain pieces of text."""

    shareable: bool
    """Whether threads may use it at the same time."""

    def run(self, texts: Sequence[str]) -> list[Made]:
        """Translate each piece.

        Raises:
            ModelError: the engine failed.
        """
        ...

    def score(self, sources: Sequence[str], translations: Sequence[str]) -> list[Likelihood | None]:
        """How probable each translation is; None where that can't be said."""
        ...

    def close(self) -> None:
        """Give back what is held besides memory."""
        ...


@dataclass(frozen=True, slots=True)
class _Paragraph:
    """A stretch of text on its way: its words, and what goes to the model."""

    text: str
    core: str
    spelt: dict[str, str]
    """What the codes stand for that took the place of what the model can't spell."""
    parts: tuple[str, ...]
    """The pieces with the space around them; none: there is nothing to translate."""


class NeuralEngine:
    """One model. The pieces of all texts of a call go to the model together."""

    def __init__(self, language: str, alphabet: frozenset[str] | None, runs: Runs, longest: int = 0) -> None:
        """Without an alphabet everything can be spelt; with `longest` text goes whole up to so many characters."""
        self._language, self._longest = language, longest
        self._alphabet = alphabet
        self._runs: Runs | None = runs
        self.shareable, self.remote = runs.shareable, getattr(runs, "remote", False)
        self._masks = (codes.WordMask("KWZ", 7), codes.WordMask("XQJ", 91))

    def translate(self, texts: Sequence[str]) -> list[str]:
        """Translate each text; see `translate_with_evidence`.

        Raises:
            ModelError: the model failed.
        """
        made = self.translate_with_evidence(texts)
        if failure := next((each.failure for each in made if each.failure), ""):
            raise ModelError(failure)
        return [each.text for each in made]

    def translate_with_evidence(self, texts: Sequence[str]) -> list[Made]:
        """Translate each text: what the model can't spell is carried through as a code, long text goes by pieces.

        Paragraphs, lines that end a sentence, and columns go one by one: the model would lose what separates them.

        Raises:
            ModelError: the model failed.
        """
        split = [_PARAGRAPH.split(text) for text in texts]
        paragraphs = [[self._paragraph(part) for part in parts[::2]] for parts in split]
        pieces = [part.strip() for row in paragraphs for paragraph in row for part in paragraph.parts]
        made = iter(codes.translate_coded(pieces, self._masks, self._run))
        done = [[_finished(p, [next(made) for _ in p.parts]) for p in row] for row in paragraphs]
        return [
            joined("".join(_alternately([m.text for m in row], parts[1::2])), row)
            for row, parts in zip(done, split, strict=True)
        ]

    def score(self, sources: Sequence[str], translations: Sequence[str]) -> list[Likelihood | None]:
        """How probable the model finds given translations; None where it can't say, of long texts for instance.

        What it can't spell has the same name on both sides, as inline codes have.

        Raises:
            ModelError: the model failed.
        """
        if self._runs is None:
            raise ModelError("a model was used after it was closed")
        named = [self._named(pair) for pair in zip(sources, translations, strict=True)]
        return self._runs.score([source for source, _ in named], [made for _, made in named])

    def _named(self, texts: Sequence[str]) -> list[str]:
        """Texts with names in the place of codes and of what can't be spelt: the same for the same."""
        names: dict[str, str] = {}
        named = []
        for text in texts:
            spellable, spelt = self._spellable(typography.straighten(text.strip()))

            def name(match: re.Match[str], spelt: dict[str, str] = spelt) -> str:
                return f" {names.setdefault(codes.restore(match[0], spelt), f'K{7 + len(names)}')} "

            named.append(" ".join(re.sub(codes.CODE, name, spellable).split()))
        return named

    def close(self) -> None:
        """Free the model."""
        if self._runs is not None:
            self._runs.close()
        self._runs = None

    def _paragraph(self, text: str) -> _Paragraph:
        core = text.strip()
        if not codes.has_words(core):
            return _Paragraph(text, core, {}, ())
        spellable, spelt = self._spellable(typography.straighten(core))
        whole = clauses.cut(spellable, self._longest) if self._longest else None
        return _Paragraph(text, core, spelt, tuple(whole or clauses.pieces(spellable, self._language, LONGEST_CHARS)))

    def _spellable(self, text: str) -> tuple[str, dict[str, str]]:
        """The text with the words and signs the model's vocabulary can't spell turned into codes."""
        known, missing = self._alphabet, []
        if known is None:
            return text, {}

        def spell(match: re.Match[str]) -> str:
            word = match[0]
            data = len(word) > LONGEST_WORD_CHARS and word.isascii()
            if word.isspace() or re.fullmatch(codes.CODE, word) or (known.issuperset(word) and not data):
                return word
            if not data and known.issuperset(word.lower()):  # vocabularies lack rare capitals: Ç, Ã, Í
                return word.lower()
            missing.append(word)
            return word

        text = _WORD.sub(spell, text)
        if not missing:
            return text, {}
        signs = "|".join(_whole(word) for word in sorted(set(missing), key=lambda w: (-len(w), w)))
        return codes.protect(text, re.compile(rf"(?:{signs})(?:\s*(?:{signs}))*"))

    def _run(self, texts: Sequence[str]) -> list[Made]:
        """Translations; for single words the models sometimes say nothing, but rarely when they end like a sentence."""
        if self._runs is None:
            raise ModelError("a model was used after it was closed")
        made = self._runs.run(texts)
        silent = [i for i, text in enumerate(texts) if text and not made[i].text and not text.endswith(".")]
        if silent:
            for i, again in zip(silent, self._runs.run([f"{texts[i]}." for i in silent]), strict=True):
                made[i] = replace(again, text=again.text.removesuffix("."))
        return made


def space_of(part: str, translated: str) -> str:
    """The translation between the space that stood around its source."""
    lead, trail = len(part) - len(part.lstrip()), len(part.rstrip())
    return f"{part[:lead]}{translated.strip()}{part[trail:]}" if part.strip() else part


def _finished(paragraph: _Paragraph, translated: Sequence[Made]) -> Made:
    """A paragraph from its translated pieces, dressed as its source."""
    if not paragraph.parts:
        return Made(paragraph.text)
    whole = "".join(space_of(part, made.text) for part, made in zip(paragraph.parts, translated, strict=True))
    dressed = typography.dress(codes.restore(whole, paragraph.spelt), paragraph.core)
    text = paragraph.text.replace(paragraph.core, typography.match_case(dressed, paragraph.core), 1)
    return joined(text, translated)


def _alternately(texts: Sequence[str], between: Sequence[str]) -> list[str]:
    """Texts with what stands between them."""
    return [piece for pair in zip(texts, [*between, ""], strict=True) for piece in pair]


def _whole(word: str) -> str:
    return rf"\b{re.escape(word)}\b" if word[0].isalnum() else re.escape(word)
