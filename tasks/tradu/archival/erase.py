"""Right to erasure: one document or one tenant, everywhere, archives and what is known of its segments included."""

from __future__ import annotations

import json
import logging
from collections import Counter
from uuid import UUID

import pyarrow.compute as pc

from tradu import layout, tables
from tradu.archival import archive, purge, restore
from tradu.archival.context import Held, archive_ledger, held
from tradu.archival.policy import Policy, Residence, load_policy
from tradu.errors import RequestError
from tradu.ledger import objects
from tradu.ledger.connection import Ledger, get_ledger
from tradu.ledger.rows import Document, Output
from tradu.ledger.states import JOB_ENDED
from tradu.settings import Settings, get_settings
from tradu.store import Store, StoredObject, split_uri

log = logging.getLogger(__name__)
_MIXED = ("blocks/", "results/")
"""Tables that many documents share, each row with its document's id."""
_ROWS = "ledger.arrows"
"""The ledger's rows beside a delivery, from which it could be rebuilt: they name every document."""


def erase_tenant(ledger: Ledger, tenant: str, by: str) -> dict[str, int]:
    """Remove every job of a tenant for ever; what was removed. Killed on the way, it is to be called again.

    Raises:
        RequestError: a job of theirs is open or under legal hold: nothing was removed.
    """
    jobs = _jobs(ledger, tenant=tenant)
    counts: Counter[str] = Counter()
    for job_id in jobs:
        with held(job_id) as ours:
            counts.update(purge.purge_job(ours, "job", by))
    with archive_ledger().transaction() as tx:
        purge.certify(tx, "tenant", tenant, counts, by)
    return dict(counts)


def erase_document(ledger: Ledger, document_id: str, policy: Policy, settings: Settings, by: str) -> dict[str, int]:
    """Remove a document from every job that has it, and its bytes; what was removed. Killed on the way, it is to be
    called again. Archives of it are brought back, made anew without it, and so replaced.

    Raises:
        RequestError: a job that has it is open or under legal hold: nothing was removed.
        AsleepError: an archive that has it was asked for, and can't be read yet: call again later.
    """
    counts: Counter[str] = Counter()
    for job_id in _jobs(ledger, document_id=document_id):
        with held(job_id) as ours:
            tier = Residence(ours.job.residence)
            restore.restore(ours, policy)
        with held(job_id) as ours:
            counts.update(_erase(ours, document_id, settings))
        if tier is not Residence.HOT:
            with held(job_id) as ours:
                archive.archive(ours, tier, policy, by)
        counts["jobs"] += 1
    store = Store(settings.store)
    with archive_ledger().transaction() as tx:
        archive.clear_raw(tx, store, {document_id: layout.raw_key(document_id)})
        purge.certify(tx, "document", document_id, counts, by)
    return dict(counts)


def _jobs(ledger: Ledger, *, tenant: str | None = None, document_id: str | None = None) -> list[UUID]:
    with ledger.transaction() as tx:
        found = tx.tuples("jobs_to_erase", tenant=tenant, document_id=document_id)
    if kept := [str(job) for job, state, hold in found if hold or state not in JOB_ENDED]:
        raise RequestError(f"nothing was removed: these jobs are open or under legal hold: {', '.join(kept)}")
    return [job for job, *_ in found]


def _erase(ours: Held, document_id: str, settings: Settings) -> Counter[str]:
    """Remove a document from a hot job: first from its objects, last its rows, so that a second call finds it again."""
    job_id, counts = ours.job.job_id, Counter[str]()
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
        elif new := _rewritten(ours.store, stored.key, document):
            written.append(new)
    if _remove_origin(document.origin, settings):
        counts["origins"] += 1
    with ours.ledger.transaction() as tx:
        for new in written:
            tx.run("replace_object", job_id=job_id, object_key=new.key, sha256=new.sha256, size_bytes=new.size_bytes)
            tx.run("forget_known", job_id=job_id, object_key=new.key)
        tx.run("forget_objects", job_id=job_id, object_keys=forgotten)
        blocks = [str(b) for (b,) in tx.tuples("block_ids_of", job_id=job_id, document_id=document_id)]
        for query in ("erase_history", "erase_letters", "erase_incidents"):
            counts[query.removeprefix("erase_")] += tx.run(query, job_id=job_id, entity_ids=[*blocks, document_id])
        for query in ("erase_blocks", "erase_outputs", "erase_document"):
            counts[query.removeprefix("erase_")] += tx.run(query, job_id=job_id, document_id=document_id)
        tx.run("forget_request", job_id=job_id, origin=document.origin)
    counts["objects"] += len(forgotten)
    counts["objects_rewritten"] += len(written)
    return counts


def _rewritten(store: Store, key: str, document: Document) -> StoredObject | None:
    """An object that many documents share, without this one; None where it has nothing of it."""
    if key.startswith(_MIXED) and key.endswith(".parquet"):
        return _without_rows(store, key, document.document_id)
    if key.endswith(("/manifest.json", "/untranslated.jsonl")) and key.startswith("output/") and key.count("/") == 2:
        return _without_mention(store, key, document)
    return None


def _without_rows(store: Store, key: str, document_id: str) -> StoredObject | None:
    """Row groups keep their numbers, by which batches find them."""
    ids = tables.read(store, key, columns=["document_id"]).column("document_id")
    if not pc.any(pc.equal(ids, document_id)).as_py():
        return None
    groups = tables.read_groups(store, key)
    first = next(groups)
    with store.writing(key) as stream, tables.writer(stream, first.schema) as writer:
        for group in (first, *groups):
            writer.write_table(group.filter(pc.not_equal(group.column("document_id"), document_id)))
    return stream.stored


def _without_mention(store: Store, key: str, document: Document) -> StoredObject | None:
    before = store.get(key)
    if key.endswith(".json"):
        manifest = json.loads(before)
        manifest.pop("rows", None)
        manifest["documents"] = [d for d in manifest["documents"] if d["sha256"] != document.document_id]
        after = json.dumps(manifest, ensure_ascii=False, indent=2).encode()
    else:
        lines = (line for line in before.splitlines(keepends=True) if not _mentions(json.loads(line), document))
        after = b"".join(lines)
    return store.put(key, after) if after != before else None


def _mentions(line: dict[str, object], document: Document) -> bool:
    return line.get("document_id") == document.document_id or line.get("document") == document.paths


def _remove_origin(origin: str, settings: Settings) -> bool:
    """Remove the file that a document came from, where it was put to be translated: landing prefix or uploads."""
    if not any(origin.startswith(f"{prefix}/") for prefix in (settings.landing, f"{settings.store}/uploads")):
        return False
    fs, path = split_uri(origin)
    if ".." in path.split("/") or not fs.exists(path):
        return False
    fs.rm_file(path)
    return True


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
