"""Removing everything the local stack made, inside the checkout and outside it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tradu.errors import SystemicError
from tradu.settings import Settings
from tradu.stack import account, lifecycle
from tradu.stack.layout import Layout

_MADE_BY_UP = ("secrets/fernet-key", "run/supervisord.conf", "airflow/airflow.cfg")
_MADE_BY_SETUP = frozenset({"native", "apertium"})


def clean(settings: Settings) -> list[str]:
    """Stop the stack and remove its home, its PostgreSQL, and the system user if it was made for it; what went.

    Raises:
        SystemicError: the home folder holds no file by which a stack is known, so it may be somebody's own.
    """
    layout = Layout(settings)
    removed = []
    if layout.home.is_dir() and any(layout.home.iterdir()):
        if not _is_ours(layout.home):
            raise SystemicError(f"{layout.home} does not look like a folder of the stack: remove it yourself")
        lifecycle.down(settings)
    if os.geteuid() == 0:
        folder = account.folder_for(layout.home)
        if folder.is_dir():
            removed.append(str(folder))
        account.remove(folder)
    for folder in (layout.home, layout.socket.parent):
        if folder.is_dir():
            shutil.rmtree(folder)
            removed.append(str(folder))
    return removed


def _is_ours(home: Path) -> bool:
    """Whether a stack was started here, or there is nothing but what set-up makes."""
    return any((home / name).is_file() for name in _MADE_BY_UP) or {p.name for p in home.iterdir()} <= _MADE_BY_SETUP
