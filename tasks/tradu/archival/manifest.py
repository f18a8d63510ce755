"""The manifest of an archive: every file and member with size and checksum, and what the ledger had of the job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tradu import __version__
from tradu.errors import DamagedError
from tradu.store import StoredObject

FORMAT = 1
"""Version of the archive's format. A reader refuses a newer one."""
LEDGER = "ledger/"
"""Members below this are rows of a table of the ledger, as an Arrow stream; all others are objects of the store."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in an archive."""

    job_id: str
    tenant: str
    made_at: str
    """ISO 8601, UTC."""
    made_by: str
    files: list[StoredObject]
    """The packs."""
    members: list[StoredObject]
    """What is in them, in order: objects under the keys that they had, and tables of the ledger."""
    rows: Mapping[str, int]
    """Rows of each table of the ledger."""
    format: int = FORMAT
    tradu: str = __version__

    @property
    def objects(self) -> list[StoredObject]:
        """The members that are objects of the store."""
        return [m for m in self.members if not m.key.startswith(LEDGER)]

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1).encode()


def decode(key: str, data: bytes) -> Manifest:
    """A manifest from its JSON.

    Raises:
        DamagedError: it isn't one, or of a newer version of Tradu.
    """
    try:
        content: dict[str, Any] = json.loads(data)
        if content["format"] > FORMAT:
            raise DamagedError(f"{key} is of format {content['format']}: this Tradu reads formats up to {FORMAT}")
        for name in ("files", "members"):
            content[name] = [StoredObject(**entry) for entry in content[name]]
        return Manifest(**content)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{key} is no manifest of an archive: {error}") from error
