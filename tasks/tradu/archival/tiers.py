"""Storage classes of an S3 store: set on archives, and waited for where they can't be read at once (Glacier)."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, BinaryIO

from botocore.exceptions import ClientError

from tradu import s3
from tradu.archival.manifest import Manifest
from tradu.archival.policy import Policy
from tradu.errors import DamagedError
from tradu.store import CHUNK_BYTES, Store, StoredObject

log = logging.getLogger(__name__)
MOST_COPY_BYTES = 5_000_000_000
"""What S3 copies in one request (CopyObject). A pack is larger where one of its members is."""
COPY_PART_BYTES = 1 << 30
"""Of a larger one it copies so much in one request (UploadPartCopy takes 5 MiB to 5 GiB, and 10,000 parts)."""
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
            with s3.meaning(store.fs, store.path(file.key)):
                if file.size_bytes > MOST_COPY_BYTES:
                    _copy_in_parts(store, file, storage_class)
                else:
                    place = _place(store, file.key)
                    store.fs.call_s3("copy_object", CopySource=place, StorageClass=storage_class, **place)


def _copy_in_parts(store: Store, file: StoredObject, storage_class: str) -> None:
    """Copy a large pack over itself. It is read meanwhile: is it the one that the manifest names, and has the server
    copied the same bytes? Its answer to each part gives their MD5, unless it encrypts with a key of KMS.

    Raises:
        DamagedError: the pack is not what was written, or not what was copied. It stays as it is.
    """
    place, source = _place(store, file.key), _head(store, file.key)["ETag"]
    upload = store.fs.call_s3("create_multipart_upload", StorageClass=storage_class, **place)["UploadId"]
    try:
        parts: list[dict[str, object]] = []
        with store.checked(file.key, file.sha256) as stream:
            for start in range(0, file.size_bytes, COPY_PART_BYTES):
                size = min(COPY_PART_BYTES, file.size_bytes - start)
                copied = store.fs.call_s3(
                    "upload_part_copy",
                    CopySource=place,
                    CopySourceIfMatch=source,
                    CopySourceRange=f"bytes={start}-{start + size - 1}",
                    PartNumber=len(parts) + 1,
                    UploadId=upload,
                    **place,
                )
                tag, digest = copied["CopyPartResult"]["ETag"].strip('"'), _md5(stream, size)
                if tag != digest and "kms" not in copied.get("ServerSideEncryption", ""):
                    raise DamagedError(f"{file.key}: the server has copied other bytes from {start} on than are there")
                parts.append({"PartNumber": len(parts) + 1, "ETag": copied["CopyPartResult"]["ETag"]})
            if stream.read(1):
                raise DamagedError(f"{file.key} is damaged: it has more than {file.size_bytes} bytes")
        store.fs.call_s3("complete_multipart_upload", UploadId=upload, MultipartUpload={"Parts": parts}, **place)
    except BaseException:
        with suppress(Exception):  # what can't be removed now goes with what killed writers leave
            store.fs.call_s3("abort_multipart_upload", UploadId=upload, **place)
        raise


def _md5(stream: BinaryIO, size: int) -> str:
    """Of the next so many bytes."""
    digest = hashlib.md5(usedforsecurity=False)
    while size and (piece := stream.read(min(size, CHUNK_BYTES))):
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest()


def _place(store: Store, key: str) -> dict[str, str]:
    bucket, name, _ = store.fs.split_path(store.path(key))
    return {"Bucket": bucket, "Key": name}


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
        asked = {"Days": policy.thaw_days, "GlacierJobParameters": {"Tier": policy.thaw_speed}}
        try:
            store.fs.call_s3("restore_object", RestoreRequest=asked, **_place(store, key))
        except ClientError as error:
            if error.response["Error"]["Code"] != _UNDER_WAY:
                raise
        log.info("asked for %s: it can be read for %d days, some hours from now", key, policy.thaw_days)
    return len(sleeping)


def _head(store: Store, key: str) -> dict[str, Any]:
    try:
        head: dict[str, Any] = store.fs.call_s3("head_object", **_place(store, key))
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
            raise FileNotFoundError(key) from error
        raise
    return head


def _class_of(head: dict[str, Any]) -> str:
    return str(head.get("StorageClass") or "STANDARD")


def _is_awake(head: dict[str, Any]) -> bool:
    return _class_of(head) not in _ASLEEP or bool(_AWAKE.search(str(head.get("Restore", ""))))
