"""The model store: weights under their name and checksum, put in, compared and removed.

    <TRADU_MODELS>/<name>/<checksum>/manifest.json and the files

The manifest is written last: a copy that was broken off is no model, and adding it again completes it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from botocore.exceptions import BotoCoreError

from tradu.errors import ModelError, RequestError, StoreError
from tradu.inference import manifest, weights
from tradu.inference.manifest import Manifest
from tradu.inference.model import Model
from tradu.settings import Settings
from tradu.store import Store, split_uri


def add(name: str, source: str, settings: Settings) -> Manifest:
    """Copy a model into the store. What is there already is not copied again.

    Args:
        name: what it is called there.
        source: a folder, or an `s3://` prefix.
        settings: say where the store is.

    Raises:
        RequestError: the name or the source can't be used.
        StoreError: the store can't be written to.
    """
    if not weights.NAME.fullmatch(name):
        raise RequestError(f"{name!r} can't be the name of a model: use letters, digits, dot, - and _")
    with _folder(source, settings) as folder:
        try:
            listed = manifest.of_folder(folder)
        except ModelError as error:
            raise RequestError(str(error)) from None
        store = Store(settings.model_store)
        key = f"{name}/{listed.checksum}"
        try:
            store.create()
            for file in listed.files:
                if store.problem(f"{key}/{file.path}", file.sha256) is not None:
                    with (folder / file.path).open("rb") as stream:
                        store.copy_in(stream, f"{key}/{file.path}")
            store.put(f"{key}/{manifest.NAME}", listed.to_json())
        except (OSError, BotoCoreError) as error:
            raise StoreError(f"{settings.model_store}: can't be written to: {error}") from error
    return listed


def remove(name: str, checksum: str, settings: Settings) -> None:
    """Remove a model from the store, its manifest first: what is left of it is no model. No error when it is gone."""
    store = Store(settings.model_store)
    for key in (f"{name}/{checksum}/{manifest.NAME}", f"{name}/{checksum}"):
        store.remove(key)


def faults(model: Model, settings: Settings) -> list[str]:
    """What is wrong with the weights of a model, which are read whole where they lie."""
    try:
        return list(_faults(model, settings))
    except (OSError, BotoCoreError, ModelError) as error:
        return [f"can't be read: {error}"]


def _faults(model: Model, settings: Settings) -> Iterator[str]:
    folder = weights.folder_of(model, settings)
    if folder is not None and not folder.is_dir():
        yield f"{folder} is missing"
        return
    if folder is not None and not (folder / manifest.NAME).is_file():
        if model.checksum and manifest.of_folder(folder).checksum != model.checksum:
            yield f"{folder} holds other files than its checksum says"
        return
    prefix = weights.prefix_of(model, settings) if folder is None else Store(folder.as_uri())
    listed = weights.manifest_of(prefix)
    if model.checksum and listed.checksum != model.checksum:
        yield f"{prefix.uri} holds other files than its checksum says"
    yield from (f"{f.path} {why}" for f in listed.files if (why := prefix.problem(f.path, f.sha256)) is not None)


@contextmanager
def _folder(source: str, settings: Settings) -> Iterator[Path]:
    """A local folder with the files of a source.

    Raises:
        RequestError: there is none.
    """
    if not source.startswith("s3://"):
        folder = Path(source.removeprefix("file://")).expanduser()
        if not folder.is_dir():
            raise RequestError(f"{source} is no folder")
        yield folder.resolve()
        return
    settings.home.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=settings.home, prefix="model-") as temporary:
        _copy(source.rstrip("/"), Path(temporary))
        yield Path(temporary)


def _copy(source: str, folder: Path) -> None:
    filesystem, root = split_uri(source)
    try:
        found = filesystem.find(root, detail=True)
        size, free = sum(one["size"] or 0 for one in found.values()), shutil.disk_usage(folder).free
        if size > free:
            raise RequestError(f"{source} has {size / 1e6:,.0f} MB; {folder} has room for {free / 1e6:,.0f}")
        names = [path.removeprefix(f"{root}/") for path in found]
        store = Store(source)
        for name in _safe(names, source):
            store.copy_out(name, folder / name)
    except (OSError, BotoCoreError) as error:
        raise RequestError(f"{source}: can't be read: {error}") from error


def _safe(names: Iterable[str], source: str) -> Iterator[str]:
    for count, name in enumerate(n for n in names if n != manifest.NAME and not n.endswith("/")):
        try:
            manifest.check_path(name)
        except ValueError as error:
            raise RequestError(f"{source}: {error}") from None
        if count >= manifest.MOST_FILES:
            raise RequestError(f"{source} has more than {manifest.MOST_FILES:,} files: that is no model")
        yield name
