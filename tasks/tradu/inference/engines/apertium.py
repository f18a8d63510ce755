"""Apertium, rule-based, as a pipeline of its own programs (GPL, so never imported) that stays alive; option `mode`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tradu.documents.model import CODE_BASE
from tradu.errors import ModelError
from tradu.inference import codes, typography
from tradu.inference.apertium_files import Installation, find
from tradu.inference.files import version_of
from tradu.inference.made import Made
from tradu.inference.model import Model, Status
from tradu.inference.pipeline import Pipeline
from tradu.settings import get_settings

IDLE_SECONDS = 15.0
"""A text takes milliseconds; a pipeline silent for this long has hung."""

# What the pipeline would drop, take for its own marks (* # @) or stop at: carried as codes.
_FOREIGN = re.compile(r"""[^\w\s.,;:!?¿¡"'()/\\\[\]{}<>^$%&=+\-_‘’“”«»…–—°ºª€£]+|[\x00-\x08\x0b-\x1f\x7f]+""")
_RESERVED = re.compile(r"([\[\]{}^$/\\@<>])")
_END = " .[]"
"""Closes a sentence: without it the taggers read on, and drop or change the last words; without its space an
abbreviation would swallow the point."""
_ENDED = re.compile(r"\s*\.((?:\s|\[\d+\])*)\[\]\s*$")
"""The same in the answer, where the point may have moved before the codes at the end."""
_TOKEN = re.compile(r"\\(?P<escaped>.)|\[(?P<code>\d+)\]|[*@#](?=\w)", re.DOTALL)
_UNKNOWN = "\ufdd0"
"""Stands for a mark while codes are put back: a noncharacter, which no text may hold."""
_UNKNOWN_WORD = re.compile(rf"{_UNKNOWN}(\w[\w'’-]*)")
_SPACES = re.compile(r"(?<=\S) {2,}(?=\S)")


class ApertiumEngine:
    """A kept pipeline: NUL flush keeps texts apart, so that none sees its neighbours. Restarts after a failure."""

    def __init__(
        self, name: str, commands: Sequence[Sequence[str]], env: Mapping[str, str], idle_seconds: float
    ) -> None:
        self._name = name
        self._commands = commands
        self._env = env
        self._idle_seconds = idle_seconds
        self._pipeline: Pipeline | None = None

    def translate(self, texts: Sequence[str]) -> list[str]:
        """Translate each text; words it doesn't know stay as they are, without Apertium's marks.

        Raises:
            ModelError: a program died or hung; the next call starts a new pipeline.
        """
        return [made.text for made in self.translate_with_evidence(texts)]

    def translate_with_evidence(self, texts: Sequence[str]) -> list[Made]:
        """Each translation with the words that Apertium did not know, in their order.

        Raises:
            ModelError: a program died or hung; the next call starts a new pipeline.
        """
        cores = [text.strip() for text in texts]
        protected = [codes.protect(core, _FOREIGN) for core in cores]
        made = codes.translate_coded([core for core, _ in protected], (codes.PlainMask(),), self._run)
        results = []
        for text, core, (_, spelt), marked in zip(texts, cores, protected, made, strict=True):
            translated = codes.restore(_tidy(marked.text.replace(_UNKNOWN, ""), core), spelt)
            unknown = tuple(_UNKNOWN_WORD.findall(marked.text))
            results.append(Made(text.replace(core, translated, 1) if core else text, unknown))
        return results

    def close(self) -> None:
        """End the programs."""
        if self._pipeline is not None:
            self._pipeline.close()
        self._pipeline = None

    def _run(self, texts: Sequence[str]) -> list[Made]:
        if self._pipeline is None or not self._pipeline.alive:
            self.close()
            self._pipeline = Pipeline(self._commands, self._env, self._idle_seconds)
        try:
            answers = self._pipeline.exchange([(escape(text) + _END).encode() for text in texts])
            streams = [_ended(answer.decode()) for answer in answers]
        except (ModelError, UnicodeError) as error:
            self.close()
            raise ModelError(f"{self._name}: {error}") from error
        return [Made(unescape(stream)) for stream in streams]


def escape(text: str) -> str:
    """Text in Apertium's stream format: reserved characters escaped, codes as superblanks."""
    escaped = _RESERVED.sub(r"\\\1", text)
    return re.sub(codes.CODE, lambda match: f"[{ord(match[0]) - CODE_BASE}]", escaped)


def unescape(stream: str) -> str:
    """Text from the stream format; unknown words begin with a noncharacter."""
    return _TOKEN.sub(_plain, stream)


def _plain(match: re.Match[str]) -> str:
    if match["escaped"]:
        return match["escaped"]
    return chr(CODE_BASE + int(match["code"])) if match["code"] else _UNKNOWN


def _ended(stream: str) -> str:
    body, ends = _ENDED.subn(r"\1", stream)
    if not ends:
        raise ModelError("the end of a text was lost")
    return body


def _tidy(translated: str, source: str) -> str:
    """Without the gaps that dropped words leave (pronouns, mostly), beginning in the case of its source."""
    translated = translated.strip()
    return typography.match_case(translated if "  " in source else _SPACES.sub(" ", translated), source)


def load(model: Model) -> ApertiumEngine:
    """A pipeline of the model's mode; its programs start with the first text.

    Raises:
        ModelError: the mode is not installed.
    """
    installation = _find(model)
    if installation is None:
        raise ModelError(f"{model.name} is not installed: {_how_to_add(model)}")
    idle_seconds = float(model.options.get("idle_seconds", IDLE_SECONDS))
    return ApertiumEngine(model.name, installation.commands(_mode(model)), installation.environment(), idle_seconds)


def status(model: Model) -> Status:
    """Whether the mode is installed; the version is a digest of its data."""
    installation = _find(model)
    try:
        version = version_of(installation.data_files(_mode(model))) if installation else ""
    except ModelError:
        return Status(False, "", _how_to_add(model))
    return Status(installation is not None, version, _how_to_add(model))


def _mode(model: Model) -> str:
    return model.options.get("mode", f"{model.source}-{model.target}")


def _find(model: Model) -> Installation | None:
    return find(get_settings().home, _mode(model))


def _how_to_add(model: Model) -> str:
    package = model.options.get("debian", f"apertium-{model.source}-{model.target}")
    return f"apt-get install apertium {package} (without root: tradu setup unpacks it into Tradu's home)"
