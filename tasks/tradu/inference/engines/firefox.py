"""Firefox's neural models (Bergamot), in batches: `weights`, or options `package` or `directory`; `threads`, `backend`,
`device`.

With `candidates` it looks for so many translations, and takes the one that the model of the other direction, which is
looked for where this one lies, and the other candidates speak for: better at ten times the cost.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tradu.errors import ModelError
from tradu.inference import clauses, codes, firefox_files, typography, weights
from tradu.inference.engines._firefox_runs import Batches, Runs, Sentences, space_of
from tradu.inference.engines._vocabulary import alphabet
from tradu.inference.files import version_of
from tradu.inference.made import Likelihood, Made, joined
from tradu.inference.marian import Files
from tradu.inference.marian.build import NoKernelError, built
from tradu.inference.marian.kernel import MAX_BEAM
from tradu.inference.model import Model, Status

LONGEST_CHARS = 300
"""Longest piece in one call: from about 480 characters on, text is cut off or repeated without a word."""
LONGEST_WORD_CHARS = 60
"""What is longer is no word but a key, a hash or encoded data, and costs seconds."""
KERNEL, TORCH, REFERENCE = "kernel", "torch", "fxtranslate"
"""The backends: our kernel, PyTorch for GPUs, and Mozilla's engine, one sentence at a time."""
KERNEL_MARK, TORCH_MARK, RERANKING_MARK = "-k1", "-t1", "r1of"
"""End the versions of models that run on these; a number is raised when the backend's output changes."""
_WORD = re.compile(rf"{codes.CODE}|\s+|\w+|[^\w\s]")
_PARAGRAPH = re.compile(r"(\s*\n\s*\n\s*|\t+|(?<=[.!?:;])[^\S\n]*\n\s*)")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Paragraph:
    """A stretch of text on its way: its words, and what goes to the model."""

    text: str
    core: str
    spelt: dict[str, str]
    """What the codes stand for that took the place of what the model can't spell."""
    parts: tuple[str, ...]
    """The pieces with the space around them; none: there is nothing to translate."""


class FirefoxEngine:
    """One model. The pieces of all texts of a call go to the model together."""

    def __init__(self, language: str, source_vocabulary: bytes, runs: Runs) -> None:
        self._language = language
        self._alphabet = alphabet(source_vocabulary)
        self._runs: Runs | None = runs
        self.shareable = runs.shareable
        self._masks = (codes.WordMask("KWZ", 7), codes.WordMask("XQJ", 91))

    def translate(self, texts: Sequence[str]) -> list[str]:
        """Translate each text; see `translate_with_evidence`.

        Raises:
            ModelError: the model failed.
        """
        return [made.text for made in self.translate_with_evidence(texts)]

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
            raise ModelError("a Firefox model was used after it was closed")
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
        self._runs = None

    def _paragraph(self, text: str) -> _Paragraph:
        core = text.strip()
        if not codes.has_words(core):
            return _Paragraph(text, core, {}, ())
        spellable, spelt = self._spellable(typography.straighten(core))
        return _Paragraph(text, core, spelt, tuple(clauses.pieces(spellable, self._language, LONGEST_CHARS)))

    def _spellable(self, text: str) -> tuple[str, dict[str, str]]:
        """The text with the words and signs the model's vocabulary can't spell turned into codes."""
        missing = []

        def spell(match: re.Match[str]) -> str:
            word = match[0]
            data = len(word) > LONGEST_WORD_CHARS and word.isascii()
            if word.isspace() or re.fullmatch(codes.CODE, word) or (self._alphabet.issuperset(word) and not data):
                return word
            if not data and self._alphabet.issuperset(word.lower()):  # vocabularies lack rare capitals: Ç, Ã, Í
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
            raise ModelError("a Firefox model was used after it was closed")
        made = self._runs.run(texts)
        silent = [i for i, text in enumerate(texts) if text and not made[i].text and not text.endswith(".")]
        if silent:
            for i, again in zip(silent, self._runs.run([f"{texts[i]}." for i in silent]), strict=True):
                made[i] = replace(again, text=again.text.removesuffix("."))
        return made


def load(model: Model) -> FirefoxEngine:
    """Load the model for the calling thread.

    Raises:
        ModelError: its files are missing or broken.
    """
    files = firefox_files.find(model)
    if files is None:
        raise ModelError(f"{model.name} is not installed: {firefox_files.how_to_add(model)}")
    try:
        return FirefoxEngine(model.source, files.source_vocabulary.read_bytes(), _runs(model, files))
    except (OSError, ValueError) as error:
        raise ModelError(f"{model.name}: can't be loaded from {files.model.parent}: {error}") from error


def status(model: Model) -> Status:
    """Whether the model's files are here. The version is a digest of them, and the backend: their outputs differ.

    One that chooses among candidates needs the other direction too, and a backend that finds several.
    """
    several, mark = _candidates(model) > 1, _mark(model)
    if several and not mark:
        return Status(False, "", f"`make setup` compiles the {KERNEL}, which alone (or {TORCH}) finds candidates")
    if model.weights:
        seen = weights.look(model)
        return Status(seen.there, seen.digest and seen.digest + mark, seen.how_to_add)
    found = [firefox_files.find(model), *([firefox_files.find_reverse(model)] if several else [])]
    if None in found:
        missing = model if found[0] is None else firefox_files.reverse(model)
        return Status(False, "", firefox_files.how_to_add(missing))
    every = [file for files in found if files is not None for file in firefox_files.every(files)]
    return Status(True, version_of(every) + mark, firefox_files.how_to_add(model))


def _candidates(model: Model) -> int:
    """How many translations are looked for.

    Raises:
        ModelError: no number that the kernel can do.
    """
    asked = model.options.get("candidates", "1")
    if not asked.isdecimal() or not 1 <= int(asked) <= MAX_BEAM:
        raise ModelError(f"{model.name}: candidates must be a number from 1 to {MAX_BEAM}, not {asked!r}")
    return int(asked)


def _mark(model: Model) -> str:
    """What the backend adds to a version; float16 on a GPU and float32 on a processor are told apart."""
    backend, candidates = model.options.get("backend", KERNEL), _candidates(model)
    chosen = f"-{RERANKING_MARK}{candidates}" if candidates > 1 else ""
    if backend == TORCH:
        return f"{TORCH_MARK}-{_device(model).partition(':')[0]}{chosen}"
    return KERNEL_MARK + chosen if backend == KERNEL and built() is not None else ""


def _device(model: Model) -> str:
    return model.options.get("device", "cuda")


def _runs(model: Model, files: Files) -> Runs:
    """The backend asked for; where our kernel can't be had, Mozilla's engine, which is slower."""
    backend, threads = model.options.get("backend", KERNEL), model.options.get("threads", "1")
    if backend not in (KERNEL, TORCH, REFERENCE):
        raise ModelError(f"{model.name}: there is no backend {backend!r}; there are: {KERNEL}, {TORCH}, {REFERENCE}")
    if not threads.isdecimal() or int(threads) < 1:
        raise ModelError(f"{model.name}: threads must be a number from 1 on, not {threads!r}")
    candidates = _candidates(model)
    reverse = firefox_files.find_reverse(model) if candidates > 1 else None
    if candidates > 1 and (reverse is None or backend == REFERENCE):
        raise ModelError(f"{model.name} is not installed: {status(model).how_to_add}")
    if backend == REFERENCE:
        return Sentences(model.name, files)
    if backend == TORCH:
        return Batches(files, 1, _device(model), candidates, reverse)
    try:
        return Batches(files, int(threads), None, candidates, reverse)
    except NoKernelError as error:
        if candidates > 1:
            raise
        log.warning("%s runs one sentence at a time, several times slower: %s", model.name, error)
        return Sentences(model.name, files)


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
