"""Storage classes of an S3 store: set on archives, and waited for where they can't be read at once (Glacier)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any

from botocore.exceptions import ClientError

from tradu.archival.manifest import Manifest
from tradu.archival.policy import Policy
from tradu.store import Store

log = logging.getLogger(__name__)
_ASLEEP = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Classes that can only be read when they were asked for some hours before."""
_AWAKE = re.compile(r'ongoing-request="false"')
_UNDER_WAY = "RestoreAlreadyInProgress"


def settle(store: Store, manifest: Manifest, storage_class: str | None) -> None:
    """Bring the packs of an archive to a storage class; its manifest stays readable. A second time does nothing.

    A store of local files has no classes, nor has a tier for which the policy names none.
    """
    if storage_class is None or store.is_local:
        return
    for file in manifest.files:
        if _class_of(_head(store, file.key)) != storage_class:
            bucket, name, _ = store.fs.split_path(store.path(file.key))
            place = {"Bucket": bucket, "Key": name}
            store.fs.call_s3("copy_object", CopySource=place, StorageClass=storage_class, **place)


def asleep(store: Store, keys: Iterable[str]) -> list[str]:
    """Which of these objects can't be read yet."""
    if store.is_local:
        return []
    return [key for key in keys if not _is_awake(_head(store, key))]


def wake(store: Store, keys: Iterable[str], policy: Policy) -> int:
    """Ask for objects that can't be read yet; how many of them there are. Asking again does no harm."""
    sleeping = asleep(store, keys)
    for key in sleeping:
        if "Restore" in _head(store, key):
            continue  # asked for already
        bucket, name, _ = store.fs.split_path(store.path(key))
        asked = {"Days": policy.thaw_days, "GlacierJobParameters": {"Tier": policy.thaw_speed}}
        try:
            store.fs.call_s3("restore_object", Bucket=bucket, Key=name, RestoreRequest=asked)
        except ClientError as error:
            if error.response["Error"]["Code"] != _UNDER_WAY:
                raise
        log.info("asked for %s: it can be read for %d days, some hours from now", key, policy.thaw_days)
    return len(sleeping)


def _head(store: Store, key: str) -> dict[str, Any]:
    bucket, name, _ = store.fs.split_path(store.path(key))
    try:
        head: dict[str, Any] = store.fs.call_s3("head_object", Bucket=bucket, Key=name)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
            raise FileNotFoundError(key) from error
        raise
    return head


def _class_of(head: dict[str, Any]) -> str:
    return str(head.get("StorageClass") or "STANDARD")


def _is_awake(head: dict[str, Any]) -> bool:
    return _class_of(head) not in _ASLEEP or bool(_AWAKE.search(str(head.get("Restore", ""))))
