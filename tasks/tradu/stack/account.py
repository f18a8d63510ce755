"""The system user that PostgreSQL runs as when root starts the stack, and its folder under /var/lib."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tradu.errors import SystemicError

NAME = "tradu"
BASE = Path("/var/lib/tradu")
_MADE = BASE / "user-made-by-tradu"
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def folder_for(home: Path) -> Path:
    """The folder of one stack: its home's path, hashed, so that stacks of several checkouts don't meet."""
    return BASE / hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:12]


@contextmanager
def _locked() -> Iterator[None]:
    """One at a time: another stack may be made or removed at this moment."""
    BASE.mkdir(parents=True, exist_ok=True, mode=0o755)
    with (BASE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def exists() -> bool:
    """Whether the system user is there."""
    try:
        pwd.getpwnam(NAME)
    except KeyError:
        return False
    return True


def ensure(folder: Path) -> None:
    """Make the system user where it is missing (noting that we did), and give it the folder.

    Raises:
        SystemicError: there is no useradd, or it failed.
    """
    with _locked():
        if not exists():
            useradd = shutil.which("useradd", path=_PATH)
            if useradd is None:
                raise SystemicError("PostgreSQL can't run as root; no useradd: apt-get install passwd")
            words = [useradd, "--system", "--no-create-home", "--home-dir", str(BASE), "--user-group",
                     "--shell", shutil.which("nologin", path=_PATH) or "/bin/false", NAME]  # fmt: skip
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemicError(f"could not add the system user {NAME}: {done.stderr.strip()}")
            _MADE.touch()
        folder.mkdir(exist_ok=True)
        user = pwd.getpwnam(NAME)
        os.chown(folder, user.pw_uid, user.pw_gid)
        folder.chmod(0o755)


def remove(folder: Path) -> None:
    """Remove a stack's folder; with the last one also the system user, if we made it."""
    if not BASE.is_dir():
        return
    with _locked():
        shutil.rmtree(folder, ignore_errors=True)
        if any(entry.is_dir() for entry in BASE.iterdir()):
            return
        userdel = shutil.which("userdel", path=_PATH)
        if _MADE.exists() and exists() and userdel:
            subprocess.run([userdel, NAME], capture_output=True, check=False)
        shutil.rmtree(BASE)
