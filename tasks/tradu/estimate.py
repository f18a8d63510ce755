"""What a job would take, before anything is spent: counted with the functions that the line itself counts with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tradu.documents.language import base
from tradu.documents.model import DocumentFormat, FormatOptions
from tradu.documents.registry import format_named
from tradu.errors import DataError, RequestError
from tradu.inference.model import Route
from tradu.inference.registry import Registry
from tradu.inference.routes import cost_of, tier_of
from tradu.ingestion.ingest import MINIMUM_CONFIDENCE
from tradu.ingestion.ingest import _look as look  # the estimate has to see what ingest will see
from tradu.partitioning.segments import cut
from tradu.settings import Settings
from tradu.store import buffered, sha256_of


@dataclass(frozen=True, slots=True)
class DocumentEstimate:
    """What one file holds; `problem` says why it would be refused."""

    path: str
    format: str | None
    source: str | None
    blocks: int
    """For each target language."""
    segments: int
    characters: int
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class RungEstimate:
    """What one tier of a pair takes."""

    tier: str
    models: tuple[str, ...]
    characters: int
    """Expected to reach it."""
    cpu_seconds: float
    cost: float


@dataclass(frozen=True, slots=True)
class PairEstimate:
    """What one pair of languages takes. No models: nothing to do, or no way (then `problem` says what to install)."""

    source: str
    target: str
    tier: str | None
    models: tuple[str, ...]
    documents: int
    blocks: int
    segments: int
    characters: int
    cpu_seconds: float
    cost: float
    problem: str | None = None
    rungs: tuple[RungEstimate, ...] = ()
    """The tiers that it climbs through, the first one among them."""
    left_out: tuple[str, ...] = ()
    """Tiers that don't pay, and why."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job would take. `seconds` is the engines' time on `workers` workers; starting the stages comes on top."""

    documents: tuple[DocumentEstimate, ...]
    pairs: tuple[PairEstimate, ...]
    workers: int

    @property
    def cpu_seconds(self) -> float:
        """CPU time of the engines, seconds."""
        return sum(pair.cpu_seconds for pair in self.pairs)

    @property
    def seconds(self) -> float:
        """Time the engines take, seconds."""
        return self.cpu_seconds / self.workers

    @property
    def cost(self) -> float:
        """Cost, in the currency of `TRADU_CPU_PRICE_PER_HOUR`."""
        return sum(pair.cost for pair in self.pairs)

    @property
    def problems(self) -> tuple[str, ...]:
        """What would not be translated, and why."""
        documents = (f"{d.path}: {d.problem}" for d in self.documents if d.problem)
        return (*documents, *dict.fromkeys(p.problem for p in self.pairs if p.problem))


def estimate(
    files: Iterable[tuple[Path, str]],
    targets: Sequence[str],
    source: str,
    profile: str,
    options: FormatOptions,
    *,
    registry: Registry,
    settings: Settings,
    workers: int,
) -> Estimate:
    """Count local files (with their paths in the tree) and price them with the models that would be tried first.

    A file that stands twice in the tree is counted once, as the line does it.

    Raises:
        RequestError: there is no such profile.
    """
    registry.profile(profile)
    counted: dict[str, DocumentEstimate] = {}
    for file, path in files:
        with file.open("rb") as stream:
            identity = sha256_of(stream)
        if identity not in counted:
            counted[identity] = count(file, path, source, options, settings)
    documents = tuple(counted.values())
    found = sorted({d.source for d in documents if d.source and d.blocks and not d.problem})
    pairs = tuple(_pair(start, target, profile, documents, registry, settings) for start in found for target in targets)
    return Estimate(documents, pairs, workers)


def count(file: Path, path: str, source: str, options: FormatOptions, settings: Settings) -> DocumentEstimate:
    """Blocks, segments and characters of one file, streamed."""
    found_format = found_language = None
    try:
        if file.stat().st_size == 0:
            raise DataError("the file is empty")
        if file.stat().st_size > settings.max_document_bytes:
            raise DataError(f"larger than {settings.max_document_bytes:,} bytes (TRADU_MAX_DOCUMENT_BYTES)")
        with file.open("rb") as stream:
            found_format, found_language, confidence = look(path, buffered(stream), options)
            if source != "auto":
                found_language = source
            elif confidence is not None and confidence < MINIMUM_CONFIDENCE:
                raise DataError(
                    f"the language isn't clear ({found_language}, {confidence:.0%} sure): name it with --from"
                )
        with file.open("rb") as stream:
            language = found_language or "en"
            counts = _count(format_named(found_format), stream, language, options, settings.max_block_chars)
    except DataError as error:
        return DocumentEstimate(path, found_format, found_language, 0, 0, 0, str(error))
    return DocumentEstimate(path, found_format, found_language, *counts)


def _count(
    document_format: DocumentFormat,
    stream: BinaryIO,
    source: str,
    options: FormatOptions,
    max_block_chars: int,
) -> tuple[int, int, int]:
    units = document_format.units(buffered(stream), options)
    number = segments = characters = 0
    for _, block in cut(units, lambda _: source, max_block_chars):
        number += 1
        segments += len(block)
        characters += sum(len(segment.source) for segment in block)
    return number, segments, characters


def _pair(
    source: str,
    target: str,
    profile: str,
    documents: Sequence[DocumentEstimate],
    registry: Registry,
    settings: Settings,
) -> PairEstimate:
    own = [d for d in documents if d.source == source and d.blocks and not d.problem]
    sizes = (
        len(own),
        sum(d.blocks for d in own),
        sum(d.segments for d in own),
        sum(d.characters for d in own),
    )
    if base(source) == base(target):
        return PairEstimate(source, target, None, (), *sizes, 0.0, 0.0)
    try:
        plan = registry.plan(source, target, profile)
    except RequestError as error:
        return PairEstimate(source, target, None, (), *sizes, 0.0, 0.0, str(error))
    rungs = tuple(
        _rung(route, round(sizes[3] * share), settings) for route, share in zip(plan.rungs, plan.shares, strict=True)
    )
    return PairEstimate(
        source,
        target,
        rungs[0].tier,
        rungs[0].models,
        *sizes,
        sum(rung.cpu_seconds for rung in rungs),
        sum(rung.cost for rung in rungs),
        rungs=rungs,
        left_out=tuple(out.reason for out in plan.left_out),
    )


def _rung(route: Route, characters: int, settings: Settings) -> RungEstimate:
    cpu_seconds = characters / 1e6 * cost_of(route)
    cost = cpu_seconds * settings.cpu_price_per_hour / 3600
    return RungEstimate(tier_of(route), tuple(m.name for m in route), characters, cpu_seconds, cost)
