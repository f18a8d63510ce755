"""Firefox's neural models (Bergamot) through Mozilla's own engine, fxtranslate: options `package` or `directory`."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fxtranslate import Cache, Translator

from tradu.errors import ModelError
from tradu.inference import clauses, codes, typography
from tradu.inference.engines._vocabulary import alphabet
from tradu.inference.files import version_of
from tradu.inference.languages import base
from tradu.inference.model import Model, Status

LONGEST_CHARS = 300
"""Longest piece in one call: from about 480 characters on, text is cut off or repeated without a word."""
LONGEST_WORD_CHARS = 60
"""What is longer is no word but a key, a hash or encoded data, and costs seconds."""
_WORD = re.compile(rf"{codes.CODE}|\s+|\w+|[^\w\s]")
_PARAGRAPH = re.compile(r"(\s*\n\s*\n\s*|\t+|(?<=[.!?:;])[^\S\n]*\n\s*)")


@dataclass(frozen=True, slots=True)
class _Files:
    """A model in the layout of Mozilla's downloads."""

    model: Path
    source_vocabulary: Path
    target_vocabulary: Path
    shortlist: Path | None

    def all(self) -> Iterable[Path]:
        """Every file, for the version."""
        files = {self.model, self.source_vocabulary, self.target_vocabulary, self.shortlist}
        return (file for file in files if file is not None)


class FirefoxEngine:
    """One model, one sentence at a time. Bound to the thread that made it, as its translator is."""

    def __init__(self, name: str, language: str, files: _Files) -> None:
        self._name = name
        self._language = language
        source = files.source_vocabulary.read_bytes()
        target = source if files.target_vocabulary == files.source_vocabulary else files.target_vocabulary.read_bytes()
        shortlist = files.shortlist.read_bytes() if files.shortlist else None
        self._alphabet = alphabet(source)
        self._translator: Translator | None = Translator(files.model.read_bytes(), source, target, shortlist)
        self._masks = (codes.WordMask("KWZ", 7), codes.WordMask("XQJ", 91))

    def translate(self, texts: Sequence[str]) -> list[str]:
        """Translate each text: what the model can't spell is carried through as a code, long text goes by pieces.

        Raises:
            ModelError: the model failed.
        """
        return [self._text(text) for text in texts]

    def close(self) -> None:
        """Free the model."""
        self._translator = None

    def _text(self, text: str) -> str:
        """Paragraphs, lines that end a sentence, and columns one by one: the model would lose what separates them."""
        return "".join(part if i % 2 else self._paragraph(part) for i, part in enumerate(_PARAGRAPH.split(text)))

    def _paragraph(self, text: str) -> str:
        core = text.strip()
        if not codes.has_words(core):
            return text
        spellable, spelt = self._spellable(typography.straighten(core))
        parts = clauses.pieces(spellable, self._language, LONGEST_CHARS)
        made = codes.translate_coded([part.strip() for part in parts], self._masks, self._run)
        joined = "".join(_space_of(part, translated) for part, translated in zip(parts, made, strict=True))
        dressed = typography.dress(codes.restore(joined, spelt), core)
        return text.replace(core, typography.match_case(dressed, core), 1)

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

    def _run(self, texts: Sequence[str]) -> list[str]:
        if self._translator is None:
            raise ModelError(f"{self._name}: used after it was closed")
        try:
            return [_sentence(self._translator, text) for text in texts]
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the Rust engine derives from BaseException
            raise ModelError(f"{self._name}: engine failed: {error}") from error


def _sentence(translator: Translator, text: str) -> str:
    """A translation; for single words the models sometimes say nothing, but rarely when they end like a sentence."""
    translated = str(translator.translate(text))
    if translated or not text or text.endswith("."):
        return translated
    return str(translator.translate(f"{text}.")).removesuffix(".")


def load(model: Model) -> FirefoxEngine:
    """Load the model for the calling thread.

    Raises:
        ModelError: its files are missing or broken.
    """
    files = _find(model)
    if files is None:
        raise ModelError(f"{model.name} is not installed: {_how_to_add(model)}")
    try:
        return FirefoxEngine(model.name, model.source, files)
    except (OSError, ValueError) as error:
        raise ModelError(f"{model.name}: can't be loaded from {files.model.parent}: {error}") from error


def status(model: Model) -> Status:
    """Whether the model's files are here; the version is a digest of them."""
    files = _find(model)
    version = version_of(files.all()) if files else ""
    return Status(files is not None, version, _how_to_add(model))


def _find(model: Model) -> _Files | None:
    return next((files for folder in _folders(model) if (files := _files_in(folder)) is not None), None)


def _folders(model: Model) -> Iterable[Path]:
    """Where the files may be: the folder named, the package that carries them, fxtranslate's own downloads."""
    if directory := model.options.get("directory"):
        yield Path(directory).expanduser()
        return
    if package := model.options.get("package"):
        yield from _packaged(package, f"{base(model.source)}{base(model.target)}")
    yield Path(str(Cache().root)) / f"{base(model.source)}-{base(model.target)}"


@lru_cache(maxsize=32)
def _packaged(package: str, pair: str) -> tuple[Path, ...]:
    """The model's folders inside an installed package, newest first. The package itself is not imported."""
    spec = importlib.util.find_spec(package)
    roots = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    return tuple(sorted((found for root in roots for found in root.glob(f"resources/models/{pair}-*")), reverse=True))


def _files_in(folder: Path) -> _Files | None:
    def one(pattern: str) -> Path | None:
        return next(iter(sorted(folder.glob(pattern))), None)

    shared = one("vocab.*.spm")
    model, source, target = one("model.*.bin"), one("srcvocab.*.spm") or shared, one("trgvocab.*.spm") or shared
    if model is None or source is None or target is None:
        return None
    return _Files(model, source, target, one("lex.*.bin"))


def _how_to_add(model: Model) -> str:
    if directory := model.options.get("directory"):
        return f"put Mozilla's files (model.*.bin, vocab.*.spm, lex.*.bin) into {directory}"
    if package := model.options.get("package"):
        return f"pip install {package.replace('_', '-')}"
    return f"fxtranslate models add {base(model.source)} {base(model.target)}"


def _whole(word: str) -> str:
    return rf"\b{re.escape(word)}\b" if word[0].isalnum() else re.escape(word)


def _space_of(part: str, translated: str) -> str:
    """The translation between the space that stood around its source."""
    lead, trail = len(part) - len(part.lstrip()), len(part.rstrip())
    return f"{part[:lead]}{translated.strip()}{part[trail:]}" if part.strip() else part
