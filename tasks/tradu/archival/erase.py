"""Right to erasure: one document or one tenant, everywhere, archives and what is known of its segments included."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from uuid import UUID

import pyarrow.compute as pc

from tradu import layout, tables
from tradu.archival import archive, origins, purge, restore
from tradu.archival.context import Held, Step, archive_ledger, held, no_step
from tradu.archival.policy import Policy, Residence, load_policy, why_kept
from tradu.errors import DataError, RequestError
from tradu.ledger import objects
from tradu.ledger.connection import Ledger, Transaction, get_ledger
from tradu.ledger.rows import Document, Output
from tradu.ledger.states import JOB_ENDED
from tradu.settings import Settings, get_settings
from tradu.store import Store, StoredObject, sha256_of

log = logging.getLogger(__name__)
_MIXED = ("blocks/", "results/")
"""Tables that many documents share, each row with its document's id."""
_ROWS = "ledger.arrows"
"""The ledger's rows beside a delivery, from which it could be rebuilt: they name every document."""


STEPS = ("restore", "rewrite", "unarchive", "forget", "archive", "clear")
"""What `erase_document` does: with each job that has the document, and last with its bytes."""


def erase_tenant(ledger: Ledger, tenant: str, by: str, done: Step = no_step) -> dict[str, int]:
    """Remove every job of a tenant for ever; what was removed. Killed on the way, it is to be called again.

    Raises:
        RequestError: a job of theirs is open or under legal hold: nothing was removed, unless it came meanwhile.
    """
    counts: Counter[str] = Counter()
    left = _jobs(ledger, tenant=tenant)
    while True:
        for job_id in left:
            with held(job_id) as ours:
                counts.update(purge.purge_job(ours, "job", by, done))
            done("purge")
        with archive_ledger().transaction() as tx:
            if not (left := _jobs(tx, tenant=tenant)):
                tx.run("forget_bucket", tenant=tenant)
                purge.certify(tx, "tenant", tenant, counts, by)
                return dict(counts)


def erase_document(
    ledger: Ledger, document_id: str, policy: Policy, settings: Settings, by: str, done: Step = no_step
) -> dict[str, int]:
    """Remove a document from every job that has it, and its bytes; what was removed. Killed on the way, it is to be
    called again. Archives of it are brought back, removed, and made anew without it.

    Raises:
        RequestError: a job that has it is open or under legal hold: nothing was removed, unless it came meanwhile.
        AsleepError: an archive that has it was asked for, and can't be read yet: call again later.
        DamagedError: what has it can't be read.
    """
    counts: Counter[str] = Counter()
    store, key = Store(settings.store), layout.raw_key(document_id)
    left = _jobs(ledger, document_id=document_id)
    while True:
        for job_id in left:
            counts.update(_erase_from(job_id, document_id, policy, settings, by, done))
        counts["raw_documents"] += store.exists(key)
        archive.clear_raw(archive_ledger(), store, [document_id])
        done("clear")
        with archive_ledger().transaction() as tx:
            if not (left := _jobs(tx, document_id=document_id)):
                removed = dict(+counts)
                purge.certify(tx, "document", document_id, removed, by)
                return removed


def _jobs(ledger: Ledger | Transaction, *, tenant: str | None = None, document_id: str | None = None) -> list[UUID]:
    """The jobs to erase from. Asked again by the transaction that certifies: a job may have come meanwhile."""
    found = ledger.tuples("jobs_to_erase", tenant=tenant, document_id=document_id)
    if kept := [str(job) for job, state, hold in found if hold or state not in JOB_ENDED]:
        raise RequestError(f"these jobs are open or under legal hold, and stay: {', '.join(kept)}")
    return [job for job, *_ in found]


def archives_to_read(document_id: str | None) -> list[str]:
    """Archived jobs that have a document, whose archives must be read to erase it; none where none is named.

    Raises:
        RequestError: a job that has it is open or under legal hold: it can't be erased, so nothing is asked for.
    """
    if document_id is None:
        return []
    ledger = get_ledger("task")
    _jobs(ledger, document_id=document_id)
    with ledger.transaction() as tx:
        found = tx.tuples("select_archived", job_id=None, document_id=document_id, since=None, until=None)
    return [str(job) for (job,) in found]


def _erase_from(
    job_id: UUID, document_id: str, policy: Policy, settings: Settings, by: str, done: Step
) -> Mapping[str, int]:
    """Remove a document from a job, wherever it lies; the job lies in the same tier afterwards.

    An erasure that was killed leaves an archived job in hot, without an archive: the next run of the archive makes it.
    """
    with held(job_id) as ours:
        if ours.job.legal_hold:
            raise RequestError(f"job {job_id} {why_kept(job_id, True, None)}")
        tier = Residence(ours.job.residence)
        if tier is Residence.PURGED:  # a purge that was killed
            return purge.purge_job(ours, "job", by)
        restore.restore(ours, policy)
        done("restore")
    with held(job_id) as ours:
        counts = _erase(ours, document_id, settings, done)
    if tier is not Residence.HOT:
        with held(job_id) as ours:
            try:
                archive.archive(ours, tier, policy, by)
            except (DataError, RequestError) as error:  # what the policy does, and an incident says
                log.warning("%s", error)
        done("archive")
    return counts


def _erase(ours: Held, document_id: str, settings: Settings, done: Step) -> Counter[str]:
    """Remove a document from a hot job: first from its objects, last its rows, so that a second call finds it again."""
    job_id, counts = ours.job.job_id, Counter[str](jobs=1)
    with ours.ledger.transaction() as tx:
        found = [d for d in tx.rows("documents", Document, job_id=job_id) if d.document_id == document_id]
        outputs = [o for o in tx.rows("outputs", Output, job_id=job_id) if o.document_id == document_id]
    if not found:
        return counts
    (document,) = found
    gone = {f"output/{job_id}/{_ROWS}"}
    for output in outputs:
        gone.update(layout.output_key(job_id, output.target, path) for path in document.paths)
        gone.add(layout.provenance_key(job_id, output.target, document_id))
        gone.add(layout.staging_key(job_id, output.target, document_id))
    written, forgotten = list[StoredObject](), list[str]()
    for stored in list(objects.of_job(ours.ledger, job_id)):
        if stored.key in gone or stored.key.startswith("gates/"):
            ours.store.remove(stored.key)
            forgotten.append(stored.key)
        elif new := _rewritten(ours, stored, document):
            written.append(new)
    counts["orphans"] += _remove_orphans(ours)
    removed = origins.remove(ours.job, {document_id}, settings)
    counts["origins"] += len(removed)
    done("rewrite")
    ours.ledger.check()
    ours.store.remove(layout.archive_prefix(job_id))  # of a job that was restored: it has the document
    done("unarchive")
    with ours.ledger.transaction() as tx:
        tx.run("forget_archive", job_id=job_id)
        for new in written:
            tx.run("replace_object", job_id=job_id, object_key=new.key, sha256=new.sha256, size_bytes=new.size_bytes)
        tx.run("forget_objects", job_id=job_id, object_keys=forgotten)
        for what in ("history", "letters", "incidents", "blocks", "outputs", "document"):
            counts[what] += tx.run(f"erase_{what}", job_id=job_id, document_id=document_id)
        tx.run("forget_request", job_id=job_id, asked=origins.asked_for(ours.job, document, removed))
    done("forget")
    counts["objects"] += len(forgotten)
    counts["objects_rewritten"] += len(written)
    return counts


def _remove_orphans(ours: Held) -> int:
    """Remove results that the ledger does not name: of attempts that came too late."""
    keys = [key for key, _ in ours.store.keys(layout.results_prefix(ours.job.job_id))]
    with ours.ledger.transaction() as tx:
        named = {k for (k,) in tx.tuples("known_objects", job_id=ours.job.job_id, object_keys=keys)}
    orphans = set(keys) - named
    for key in orphans:
        ours.store.remove(key)
    return len(orphans)


def _rewritten(ours: Held, stored: StoredObject, document: Document) -> StoredObject | None:
    """An object that many documents share, without this one; None where it has nothing of it, and never had.

    What an erasure that was killed has written already is another object than the ledger names, whole and without the
    document.
    """
    key, store = stored.key, ours.store
    if key.startswith(_MIXED) and key.endswith(".parquet"):
        write = _without_rows
    elif key.endswith(("/manifest.json", "/untranslated.jsonl")) and key.startswith("output/") and key.count("/") == 2:
        write = _without_mention
    else:
        return None
    if not store.exists(key):  # lost: `tradu verify` says so
        return None
    if new := write(ours, key, document):
        return new
    with store.reading(key) as stream:
        written = StoredObject(key, sha256_of(stream), store.size(key))
    return written if written != stored else None


def _without_rows(ours: Held, key: str, document: Document) -> StoredObject | None:
    """Row groups keep their numbers, by which batches find them."""
    ids = tables.read(ours.store, key, columns=["document_id"]).column("document_id")
    if not pc.any(pc.equal(ids, document.document_id)).as_py():
        return None
    with ours.ledger.transaction() as tx:  # before: its rows have other numbers then
        tx.run("forget_known", job_id=ours.job.job_id, object_key=key)
    groups = tables.read_groups(ours.store, key)
    first = next(groups)
    with ours.store.writing(key) as stream, tables.writer(stream, first.schema) as writer:
        for group in chain([first], groups):
            writer.write_table(group.filter(pc.not_equal(group.column("document_id"), document.document_id)))
    return stream.stored


def _without_mention(ours: Held, key: str, document: Document) -> StoredObject | None:
    before = ours.store.get(key)
    if key.endswith(".json"):
        manifest = json.loads(before)
        manifest.pop("rows", None)
        manifest["documents"] = [d for d in manifest["documents"] if d["sha256"] != document.document_id]
        after = json.dumps(manifest, ensure_ascii=False, indent=2).encode()
    else:
        lines = (line for line in before.splitlines(keepends=True) if not _mentions(json.loads(line), document))
        after = b"".join(lines)
    return ours.store.put(key, after) if after != before else None


def _mentions(line: dict[str, object], document: Document) -> bool:
    return line.get("document_id") == document.document_id or line.get("document") == document.paths


def on_request(by: str, document_id: str | None = None, tenant: str | None = None) -> dict[str, int]:
    """Erase what a run was asked for; nothing where it was asked for nothing.

    Raises:
        RequestError: both are given, or a job is open or under legal hold.
        AsleepError: an archive was asked for, and can't be read yet: try again later.
    """
    settings, ledger = get_settings(), get_ledger("task")
    if document_id and tenant:
        raise RequestError("say either a document or a tenant")
    if tenant:
        return erase_tenant(ledger, tenant, by)
    if document_id:
        return erase_document(ledger, document_id, load_policy(settings), settings, by)
    return {}
