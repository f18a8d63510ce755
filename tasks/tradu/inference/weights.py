"""Where the weights of a model lie, and how they come to this machine: what engines ask.

`weights` of an entry is a folder of this machine (used where it lies), an `s3://` prefix, or a name in the model store.
The last two have a checksum, and are folders with a manifest; what lies on S3 is fetched into the cache.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tradu.errors import DamagedError, ModelError
from tradu.inference import manifest
from tradu.inference.files import version_of
from tradu.inference.manifest import Manifest
from tradu.inference.model import Model
from tradu.inference.model_cache import Hold, ModelCache
from tradu.settings import Settings, get_settings
from tradu.store import CHUNK_BYTES, Store

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What models in the store may be called."""
VERSION_DIGITS = 12
_HOW_TO_CHECK = "`tradu models verify` says more"


@dataclass(frozen=True, slots=True)
class Look:
    """Whether a model's weights can be had, without fetching them."""

    there: bool
    digest: str
    """What stands for these files in a version; empty where they are not there."""
    how_to_add: str


_in_use: dict[str, Hold] = {}
_lock = threading.Lock()


def check(weights: str, checksum: str) -> None:
    """Whether an entry says where its weights are.

    Raises:
        ValueError: it does not.
    """
    if not weights or _local_folder(weights) is not None:
        return
    if not weights.startswith("s3://") and not NAME.fullmatch(weights):
        raise ValueError(
            f"weights: {weights!r} is no absolute path, file:// or s3:// URI, nor a name in the model store"
        )
    if not checksum:
        raise ValueError(f"checksum: missing for {weights!r}; `tradu models add` makes it")


def look(model: Model, settings: Settings | None = None) -> Look:
    """Whether a model's weights are on this machine or in reach. Of a local folder without checksum all is read.

    Raises:
        ModelError: that folder has no files.
        OSError: they can't be read.
        StoreError: where they lie can't be asked.
    """
    settings = settings or get_settings()
    folder = folder_of(model, settings)
    if folder is not None:
        how_to_add = f"put the files of {model.name} into {folder}"
        if not folder.is_dir():
            return Look(False, "", how_to_add)
        if model.checksum:
            return Look(True, model.checksum[:VERSION_DIGITS], how_to_add)
        return Look(True, version_of(path for _, path in manifest.files_in(folder)), how_to_add)
    source = prefix_of(model, settings)
    how_to_add = f"`tradu models add {model.name} --from FOLDER ...` puts it there: {source.uri}"
    if not cache(settings).has(model.checksum) and not source.exists(manifest.NAME):
        return Look(False, "", how_to_add)
    return Look(True, model.checksum[:VERSION_DIGITS], how_to_add)


def fetch(model: Model, settings: Settings | None = None) -> Path:
    """The folder of a model's files on this machine, fetched into the cache if need be.

    What is in the cache stays there until `release` is called, or the process ends.

    Raises:
        ModelError: they are missing, damaged, or there is no room for them.
    """
    settings = settings or get_settings()
    folder = folder_of(model, settings)
    if folder is not None:
        if not folder.is_dir():
            raise ModelError(f"{model.name} is not installed: put its files into {folder}")
        return folder
    if (held := _in_use.get(model.checksum)) is not None:
        return held.folder
    hold = _fetched(model, settings)
    with _lock:
        held = _in_use.setdefault(model.checksum, hold)
    if held is not hold:  # another thread was quicker
        hold.close()
    return held.folder


def release(checksum: str) -> None:
    """Nothing in this process uses these files any more: they may be evicted from the cache."""
    with _lock:
        hold = _in_use.pop(checksum, None)
    if hold is not None:
        hold.close()


def folder_of(model: Model, settings: Settings) -> Path | None:
    """The folder of this machine in which the weights lie for good; None: they are fetched."""
    folder = _local_folder(model.weights)
    return folder if folder is not None else _local_folder(prefix_of(model, settings).uri)


def prefix_of(model: Model, settings: Settings) -> Store:
    """The folder or prefix, with a manifest in it, of a model in the model store or on S3."""
    if model.weights.startswith("s3://"):
        return Store(model.weights)
    return Store(f"{settings.model_store}/{model.weights}/{model.checksum}")


def manifest_of(prefix: Store) -> Manifest:
    """What lies in a folder of a model store, as it was put there.

    Raises:
        ModelError: there is no manifest, or a damaged one.
    """
    try:
        data = prefix.get(manifest.NAME)
    except FileNotFoundError:
        raise ModelError(f"{prefix.uri} has no {manifest.NAME}: `tradu models add` puts models there") from None
    return manifest.of_json(data, f"{prefix.uri}/{manifest.NAME}")


def cache(settings: Settings) -> ModelCache:
    """The cache of this machine."""
    return ModelCache(settings.home / "model-cache", settings.model_cache_mb * 1_000_000)


def _fetched(model: Model, settings: Settings) -> Hold:
    source = prefix_of(model, settings)

    @lru_cache(maxsize=1)
    def listed() -> Manifest:  # asked for where the cache lacks the model: what it has works without the store
        found = manifest_of(source)
        if found.checksum != model.checksum:
            raise ModelError(f"{model.name}: {source.uri} holds other files than its checksum says; {_HOW_TO_CHECK}")
        return found

    return cache(settings).take(
        model.checksum, lambda: listed().size_bytes, lambda folder: download(source, listed(), folder)
    )


def download(source: Store, listed: Manifest, folder: Path) -> None:
    """Copy a model's files, each compared with its checksum, and on the disk when this returns.

    Raises:
        ModelError: a file is missing or damaged.
    """
    for file in listed.files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with source.checked(file.path, file.sha256) as stream, target.open("wb") as local:
                left = file.size_bytes  # the cache has made room for no more
                while chunk := stream.read(CHUNK_BYTES):
                    left -= len(chunk)
                    if left < 0:
                        raise DamagedError(f"it is larger than {file.size_bytes:,} bytes")
                    local.write(chunk)
                local.flush()
                os.fsync(local.fileno())
        except (DamagedError, FileNotFoundError) as error:
            raise ModelError(f"{source.uri}: {file.path} is missing or damaged ({error}); {_HOW_TO_CHECK}") from error


def _local_folder(weights: str) -> Path | None:
    if weights.startswith("file://"):
        return Path(unquote(urlsplit(weights).path))
    return Path(weights).expanduser() if weights.startswith(("/", "~/")) else None
