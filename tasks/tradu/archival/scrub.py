"""Reads a sample of archived objects again: what a disk or a bucket has lost is known before it is needed."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from uuid import UUID

from tradu import layout
from tradu.archival import catalogue, tiers
from tradu.archival.context import archive_ledger
from tradu.archival.policy import Policy, load_policy
from tradu.errors import DamagedError
from tradu.ledger.connection import Ledger, get_ledger
from tradu.ledger.incidents import IncidentKind, report
from tradu.settings import get_settings
from tradu.store import Store, StoredObject

log = logging.getLogger(__name__)
SAY_AGAIN_SECONDS = 86_400


@dataclass(slots=True)
class Scrubbed:
    """What was looked at."""

    archives: int = 0
    objects: int = 0
    bytes: int = 0
    asleep: int = 0
    """Objects in Glacier: only their presence and size were looked at."""
    damaged: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """As it goes through XCom."""
        return {"archives": self.archives, "objects": self.objects, "bytes": self.bytes, "asleep": self.asleep,
                "damaged": len(self.damaged)}  # fmt: skip


def scrub(ledger: Ledger, store: Store, policy: Policy) -> Scrubbed:
    """Look at archives, those first that were looked at longest ago, until the sample of the policy is full."""
    found = Scrubbed()
    with ledger.transaction() as tx:
        waiting = tx.tuples("archives_to_scrub", limit=policy.scrub_objects)
    for job_id, manifest_sha256, manifest_bytes in waiting:
        if found.objects >= policy.scrub_objects:
            break
        problems = _look(
            store, job_id, StoredObject(layout.archive_key(job_id), manifest_sha256, manifest_bytes), found
        )
        with archive_ledger().transaction() as tx:
            if tx.tuples("entered_manifest", job_id=job_id) != [(manifest_sha256,)]:
                continue  # purged, or archived anew, while it was looked at
            tx.run("scrubbed", job_id=job_id)
            for problem in problems:
                log.error("%s", problem)
                report(
                    tx,
                    IncidentKind.ARCHIVE_DAMAGED,
                    problem,
                    job_id=job_id,
                    entity="object",
                    entity_id=problem.partition(" ")[0],
                    once_seconds=SAY_AGAIN_SECONDS,
                )
        found.damaged += problems
        found.archives += 1
    return found


def _look(store: Store, job_id: UUID, manifest: StoredObject, found: Scrubbed) -> list[str]:
    if problem := store.problem(manifest.key, manifest.sha256):
        return [f"{manifest.key} {problem}"]
    try:
        files = catalogue.manifest_of(store, job_id).files
    except DamagedError as error:
        return [str(error)]
    problems = []
    for file in files:
        found.objects += 1
        if problem := _problem(store, file, found):
            problems.append(f"{file.key} {problem}")
    return problems


def _problem(store: Store, file: StoredObject, found: Scrubbed) -> str | None:
    try:
        if tiers.asleep(store, [file.key]):
            found.asleep += 1
            size = store.size(file.key)
            return None if size == file.size_bytes else f"has {size:,} bytes and not {file.size_bytes:,}"
    except FileNotFoundError:
        return "is missing"
    found.bytes += file.size_bytes
    return store.problem(file.key, file.sha256)


def scrub_sample() -> Scrubbed:
    """Scrub the ledger and store of the settings."""
    settings = get_settings()
    return scrub(get_ledger("task"), Store(settings.store), load_policy(settings))
