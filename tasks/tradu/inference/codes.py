"""Inline codes through an engine that doesn't know them: masked before, put back after, and checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tradu.documents.model import CODE_BASE, MAX_CODES
from tradu.inference.made import Made, joined

CODE = f"[{chr(CODE_BASE)}-{chr(CODE_BASE + MAX_CODES - 1)}]"
_CODE = re.compile(CODE)
_RUN = re.compile(rf"{CODE}(?:\s*{CODE})*")
_EDGES = re.compile(rf"((?:\s|{CODE})*)(.*?)((?:\s|{CODE})*)", re.DOTALL)
_PIECES = re.compile(rf"(\s*{CODE}(?:\s*{CODE})*\s*)")

Run = Callable[[Sequence[str]], Sequence[Made]]
"""Translates plain texts."""


def codes_of(text: str) -> list[str]:
    """The inline codes of a text, in order."""
    return _CODE.findall(text)


def has_words(text: str) -> bool:
    """Whether there is anything to translate: a letter outside codes."""
    return any(character.isalpha() for character in text)


def protect(text: str, pattern: re.Pattern[str]) -> tuple[str, dict[str, str]]:
    """Turn what the pattern matches into inline codes the text doesn't use yet; the text, and what each stands for.

    What is left over when the private-use area is full stays as it is.
    """
    used = set(codes_of(text))
    free = (c for i in range(MAX_CODES) if (c := chr(CODE_BASE + MAX_CODES - 1 - i)) not in used)
    spelt: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        code = next(free, None)
        if code is None:
            return match[0]
        spelt[code] = match[0]
        return code

    return pattern.sub(replace, text), spelt


def restore(text: str, spelt: dict[str, str]) -> str:
    """Put back what `protect` took out."""
    return _CODE.sub(lambda match: spelt.get(match[0], match[0]), text)


@dataclass(frozen=True, slots=True)
class Masked:
    """A text whose codes were replaced by something an engine lets through."""

    text: str
    tokens: tuple[tuple[str, str, bool, bool], ...]
    """For each run of codes: its mask, the run itself, and whether text touches it on the left and on the right."""


class Mask(Protocol):
    """A way to carry codes through an engine."""

    def hide(self, text: str) -> Masked:
        """Replace the codes of a text."""
        ...

    def show(self, translated: str, masked: Masked) -> str | None:
        """Put the codes back; None where one is lost, doubled, or out of order."""
        ...


class WordMask:
    """Codes as made-up names (K7, K8, ...), which neural models copy.

    The spelling was chosen by experiment on 429 sentences with placeholders and markup, English to Portuguese: `K7`
    came back in every one, `X91` in 99.8 %, `XX1` in 98.8 %, `[1]` in 98.1 %, `{1}` never; unmasked, 48 % survived.
    """

    def __init__(self, stems: str, first: int) -> None:
        self._stems = stems
        self._first = first

    def hide(self, text: str) -> Masked:
        """Replace each run of codes by a name the text doesn't use."""
        stem = next((s for s in self._stems if not re.search(rf"{s}\d", text)), self._stems[0] * 2)
        tokens: list[tuple[str, str, bool, bool]] = []

        def name(match: re.Match[str]) -> str:
            before, after = text[: match.start()][-1:], text[match.end() :][:1]
            token = f"{stem}{self._first + len(tokens)}"
            tokens.append((token, match[0], bool(before.strip()), bool(after.strip())))
            return f"{' ' * before.isalnum()}{token}{' ' * after.isalnum()}"

        return Masked(_RUN.sub(name, text), tuple(tokens))

    def show(self, translated: str, masked: Masked) -> str | None:
        """Put the codes back where their names are, as close to their neighbours as in the source."""
        if codes_of(translated):  # made up by the engine
            return None
        if not masked.tokens:
            return translated
        stem = masked.tokens[0][0].rstrip("0123456789")
        found = list(re.finditer(rf"(?<![^\W_]){stem}\d+(?!\w)", translated))
        if [match[0] for match in found] != [token for token, *_ in masked.tokens]:
            return None
        shown, end = "", 0
        for match, (_, codes, touches_left, touches_right) in zip(found, masked.tokens, strict=True):
            between = translated[end : match.start()]
            shown += (between.rstrip(" ") if touches_left else between) + codes
            end = match.end()
            if touches_right and translated[end : end + 1] == " ":
                end += 1
        return shown + translated[end:]


class PlainMask:
    """For engines that carry the code characters themselves: nothing is replaced, only checked."""

    def hide(self, text: str) -> Masked:
        """The text as it is."""
        return Masked(text, ())

    def show(self, translated: str, masked: Masked) -> str | None:
        """The translation, where it has the codes of the source in their order."""
        return translated if codes_of(translated) == codes_of(masked.text) else None


def translate_coded(texts: Sequence[str], masks: Iterable[Mask], run: Run) -> list[Made]:
    """Translate coded texts: by each mask in turn while codes come back wrong, at last piece by piece.

    The order of the codes is kept too: an engine knows neither which are pairs nor which are told apart only by their
    place (`%s`). Texts without words come back as they are.
    """
    done = {index: Made(text) for index, text in enumerate(texts) if not has_words(text)}
    for turn, mask in enumerate(masks):
        waiting = [index for index in range(len(texts)) if index not in done]
        # edges are peeled only in the second turn: a model translates better when it sees that a name stands there
        peeled = {i: _edges(texts[i]) if turn else ("", texts[i], "") for i in waiting}
        hidden = {i: mask.hide(peeled[i][1]) for i in waiting}
        results = run([hidden[i].text for i in waiting]) if waiting else []
        for index, result in zip(waiting, results, strict=True):
            shown = mask.show(result.text, hidden[index])
            if result.failure:
                done[index] = replace(result, text=texts[index])
            elif shown is not None:
                done[index] = replace(result, text=peeled[index][0] + shown + peeled[index][2])
    broken = [index for index in range(len(texts)) if index not in done]
    done |= zip(broken, _piecewise([texts[index] for index in broken], run), strict=True)
    return [done[index] for index in range(len(texts))]


def _edges(text: str) -> tuple[str, str, str]:
    """Leading codes and space, core, trailing codes and space."""
    match = _EDGES.fullmatch(text)
    return (match[1], match[2], match[3]) if match else ("", text, "")


def _piecewise(texts: Sequence[str], run: Run) -> list[Made]:
    """Translate what stands between the codes, each piece for itself."""
    split = [_PIECES.split(text) for text in texts]
    worth = [piece for pieces in split for piece in pieces if has_words(piece)]
    made = iter(run(worth) if worth else [])
    done = []
    for pieces in split:
        parts = [next(made) if has_words(piece) else Made(piece) for piece in pieces]
        # a code that a model makes up by itself is taken out: only the source's may stand in the text
        texts_of = (_CODE.sub("", m.text) if has_words(p) else p for p, m in zip(pieces, parts, strict=True))
        done.append(joined("".join(texts_of), parts))
    return done
