"""Passwords and keys of the stack: made once, at random, in files that only their owner reads."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write a file (mode 0600) that appears whole, replacing an older one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def has_secret(home: Path, name: str) -> bool:
    """Whether the secret of this name was made already."""
    return (home / "secrets" / name).is_file()


def secret(home: Path, name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(24)) -> str:
    """The secret of this name under `<home>/secrets`, made on first use; two makers agree on one."""
    path = home / "secrets" / name
    if not has_secret(home, name):
        draft = path.with_name(f"{name}.{os.getpid()}.draft")
        write_private(draft, make())
        try:
            os.link(draft, path)  # fails when another process was first: its secret counts
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
