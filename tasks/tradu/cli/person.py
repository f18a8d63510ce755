"""Who gives a command: what the ledger keeps about decisions."""

from __future__ import annotations

import getpass
import os


def me() -> str:
    """The account's name; its number where it has none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
