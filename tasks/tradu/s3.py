"""What the store needs of S3: how requests are tried again, exact keys, and what failures mean.

Credentials, region and endpoint are taken where every AWS program takes them: AWS_ACCESS_KEY_ID, AWS_PROFILE,
AWS_REGION, AWS_ENDPOINT_URL_S3 and so on, a role of the machine, or fsspec's own configuration.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, BinaryIO, cast

import fsspec
import fsspec.config
from botocore import exceptions as boto
from fsspec.exceptions import FSTimeoutError

from tradu.errors import StoreError, TraduError, TransientError

PART_BYTES = 16 << 20
"""A larger object is sent in parts of this size, which is what a writer holds in memory. S3 takes 10,000 parts of 5 MiB
or more: objects may have 156 GiB."""
AHEAD_BYTES = 8 << 20
"""How much is fetched ahead for who reads from start to end."""
_TRIES = 5
_PAGE = 1_000
_READ_TIMEOUT_SECONDS = 60
_REFUSED = frozenset(
    {
        "403",
        "AccessDenied",
        "AccountProblem",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "NotSignedUp",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_ELSEWHERE = frozenset({"301", "307", "400", "AuthorizationHeaderMalformed", "PermanentRedirect"})
_REPLACED = "was replaced while it was read or written: try again"
_OF_OBJECT = {
    "412": _REPLACED,
    "PreconditionFailed": _REPLACED,
    "NoSuchUpload": _REPLACED,
    "InvalidObjectState": "is in a cold storage class: it must be restored before it can be read",
}
_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.TokenRetrievalError,
)
_AWAY = (boto.ConnectionError, boto.HTTPClientError, boto.BotoCoreError, FSTimeoutError, TimeoutError)
_RIGHTS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) and what that account may do"


def filesystem() -> fsspec.AbstractFileSystem:
    """A filesystem of this process, without listing caches, which are stale by design.

    A request that fails on its way, or is answered with 500, 502, 503, 504 or SlowDown, is made again up to four times,
    each after a longer wait (botocore's mode `standard`; AWS_RETRY_MODE and AWS_MAX_ATTEMPTS change that). s3fs does
    the same once more around it, for bodies that break off.
    """
    retries = {"mode": os.environ.get("AWS_RETRY_MODE", "standard")}
    tries = {"total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS", _TRIES))}
    asked = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    made = fsspec.filesystem(
        "s3",
        use_listings_cache=False,
        skip_instance_cache=True,
        default_block_size=PART_BYTES,
        config_kwargs={"retries": retries | tries, "read_timeout": _READ_TIMEOUT_SECONDS, **asked},
    )
    made.retries = 2
    return made


def environment() -> tuple[tuple[str, str], ...]:
    """What of the environment a filesystem depends on."""
    return tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(("AWS_", "FSSPEC_"))))


@contextmanager
def meaning(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[None]:
    """Failures inside the block become errors that say what to do. Local files' own are left as they are.

    Raises:
        FileNotFoundError: there is no such object, and the bucket is there.
        StoreError: the bucket is missing, or refuses us, or doesn't answer after several tries.
        TransientError: the object was replaced while it was read.
    """
    try:
        yield
    except TraduError:
        raise
    except FileNotFoundError as error:
        if is_local(fs) or error.errno is not None:
            raise
        raise (_missing_bucket(fs, path, error) or _not_found(path)) from error
    except Exception as error:
        found = None if is_local(fs) else explain(error, path)
        if found is None:
            raise
        raise found from error


def is_local(fs: fsspec.AbstractFileSystem) -> bool:
    """Whether a filesystem is that of this machine."""
    return not hasattr(fs, "call_s3")


def explain(error: BaseException, path: str) -> TraduError | None:
    """What a failure of a request means; None where it is none of S3. The answer's own text is left out."""
    bucket, code = f"s3://{path.partition('/')[0]}", _code(error)
    if code is None:
        return _not_answered(error, bucket)
    if problem := _OF_OBJECT.get(code):
        return TransientError(f"s3://{path} {problem}")
    if code == "NoSuchBucket":
        return _no_bucket(bucket)
    if code in _REFUSED:
        return StoreError(f"{bucket} refuses us ({code}): {_RIGHTS}")
    if code in _ELSEWHERE:
        return StoreError(f"{bucket} does not take our requests ({code}): check AWS_REGION and AWS_ENDPOINT_URL_S3")
    return StoreError(f"{bucket} does not do its work ({code}, tried several times): try again later")


def _not_answered(error: BaseException, bucket: str) -> StoreError | None:
    """What a failure means that is no answer of the server."""
    kind = type(error).__name__
    if isinstance(error, _CREDENTIALS):
        return StoreError(f"no credentials for {bucket} ({kind}): {_RIGHTS}")
    if isinstance(error, boto.ParamValidationError):
        return StoreError(f"{bucket} can't be the name of a bucket: correct TRADU_STORE_URL")
    if isinstance(error, _AWAY):
        return StoreError(f"{bucket} can't be reached ({kind}): check AWS_ENDPOINT_URL_S3 and the network")
    return None


def _code(error: BaseException | None) -> str | None:
    """The code of the server's answer, where an error stems from one."""
    while error is not None and not isinstance(error, boto.ClientError):
        error = error.__cause__ or error.__context__  # s3fs stumbles over answers without a message (Ceph's 412)
    return None if error is None else str(error.response.get("Error", {}).get("Code"))


def _no_bucket(bucket: str) -> StoreError:
    return StoreError(f"there is no bucket {bucket}: make it, or correct TRADU_STORE_URL")


def _not_found(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "no such object", f"s3://{path}")


def _missing_bucket(fs: fsspec.AbstractFileSystem, path: str, error: FileNotFoundError) -> TraduError | None:
    """Why an object is not found, where the fault is not its own: the answer to HEAD doesn't say."""
    if _code(error) == "NoSuchUpload":
        return explain(error, path)
    bucket = path.partition("/")[0]
    try:
        fs.call_s3("head_bucket", Bucket=bucket)
    except FileNotFoundError:
        return _no_bucket(f"s3://{bucket}")
    except Exception as another:
        return explain(another, path)
    return None


def has_bucket(fs: fsspec.AbstractFileSystem, path: str) -> bool:
    """Whether the bucket of a path is there.

    Raises:
        StoreError: it refuses us, or doesn't answer.
    """
    with meaning(fs, path):
        try:
            fs.call_s3("head_bucket", Bucket=path.partition("/")[0])
        except FileNotFoundError:
            return False
    return True


def size(fs: fsspec.AbstractFileSystem, path: str) -> int:
    """Size of the object under exactly this key, bytes; nothing is listed.

    Raises:
        FileNotFoundError: there is none.
        StoreError: the bucket is missing, refuses us, or doesn't answer.
    """
    bucket, key, _ = fs.split_path(path)
    with meaning(fs, path):
        return int(fs.call_s3("head_object", Bucket=bucket, Key=key)["ContentLength"])


class _Stream(io.RawIOBase):
    """An object that is read or written, with failures that say what to do."""

    def __init__(self, fs: fsspec.AbstractFileSystem, path: str, stream: Any) -> None:
        super().__init__()
        self._fs, self._path, self._stream = fs, path, stream

    def readable(self) -> bool:
        return bool(self._stream.readable())

    def writable(self) -> bool:
        return bool(self._stream.writable())

    def seekable(self) -> bool:
        return bool(self._stream.seekable())

    def read(self, size: int | None = -1) -> bytes:
        with meaning(self._fs, self._path):
            return bytes(self._stream.read(-1 if size is None else size))

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        with meaning(self._fs, self._path):
            return int(self._stream.write(data))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        return int(self._stream.tell())


@contextmanager
def reading(fs: fsspec.AbstractFileSystem, path: str, ahead_bytes: int = AHEAD_BYTES) -> Iterator[BinaryIO]:
    """Open an object for reading, this version of it and no other. `ahead_bytes` 0: only what is asked for is fetched.

    Raises:
        FileNotFoundError: there is none.
        StoreError: the bucket is missing, refuses us, or doesn't answer.
        TransientError: while reading: the object was replaced.
    """
    with meaning(fs, path):
        stream = fs.open(path, "rb", block_size=ahead_bytes or None, cache_type="readahead" if ahead_bytes else "none")
    with stream:
        yield cast("BinaryIO", _Stream(fs, path, stream))


@contextmanager
def writing(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[BinaryIO]:
    """Write an object that appears whole when the block ends, or not at all: a put is atomic, in parts or not.

    Raises:
        StoreError: the bucket is missing, refuses us, or doesn't answer.
    """
    with meaning(fs, path):
        stream = fs.open(path, "wb", block_size=PART_BYTES)
    try:
        yield cast("BinaryIO", _Stream(fs, path, stream))
        with meaning(fs, path):
            stream.close()
    except BaseException:
        with suppress(Exception):  # parts that can't be removed now go with `abandon`
            stream.discard()
        stream.closed = True  # or it would be sent when the memory is freed
        raise


def keys(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[tuple[str, float]]:
    """(path, time of writing) of every object below a path, a page at a time."""
    bucket, prefix, _ = fs.split_path(path)
    asked = {"Bucket": bucket, "Prefix": f"{prefix}/"}
    while True:
        with meaning(fs, path):
            page = fs.call_s3("list_objects_v2", **asked)
        for entry in page.get("Contents", ()):
            yield f"{bucket}/{entry['Key']}", entry["LastModified"].timestamp()
        if not page.get("IsTruncated"):
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]


def move(fs: fsspec.AbstractFileSystem, source: str, target: str) -> None:
    """Copy an object and remove where it came from; readers see the target whole."""
    with meaning(fs, source):
        fs.cp_file(source, target)
    remove(fs, source)


def remove(fs: fsspec.AbstractFileSystem, path: str) -> None:
    """Remove an object, and all below the path; not an error when nothing is there."""
    bucket, key, _ = fs.split_path(path)
    with meaning(fs, path):
        fs.call_s3("delete_object", Bucket=bucket, Key=key)
    remove_objects(fs, bucket, (found for found, _ in keys(fs, path)))


def remove_objects(fs: fsspec.AbstractFileSystem, bucket: str, paths: Iterable[str]) -> None:
    """Remove the objects of a bucket under exactly these paths, a thousand with each request; not an error when one is
    gone already."""
    left = iter(paths)
    while page := [{"Key": fs.split_path(found)[1]} for found in islice(left, _PAGE)]:
        with meaning(fs, bucket):
            answer = fs.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": page, "Quiet": True})
        for failed in answer.get("Errors", ()):
            raise StoreError(f"s3://{bucket}/{failed['Key']} can't be removed ({failed['Code']}): {_RIGHTS}")


def abandon(fs: fsspec.AbstractFileSystem, path: str, before: float) -> int:
    """Remove the parts that writers left which were killed before this time; of how many objects."""
    bucket, prefix, _ = fs.split_path(path)
    asked: dict[str, str] = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
    count = 0
    while True:
        with meaning(fs, path):
            page = fs.call_s3("list_multipart_uploads", **asked)
            for upload in page.get("Uploads", ()):
                if upload["Initiated"].timestamp() < before:
                    fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                    count += 1
        if not page.get("IsTruncated"):
            return count
        asked |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
