"""Archive, scrub, restore and purge through a real Airflow: a job goes cold, comes back as it was, and is erased."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import psycopg
import pytest

from fixtures.archive import KEYED
from fixtures.stack import Stack
from tradu import layout
from tradu.cli.watch import DAG
from tradu.ledger.rows import Job

ARCHIVE, RESTORE, SCRUB, PURGE = "tradu_archive", "tradu_restore", "tradu_scrub", "tradu_purge"
TENANT = "shelved"
pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def job(stack: Stack) -> Job:
    """A delivered job of a tenant of its own."""
    text = "The lighthouse keeper counted the ships before he went to bed.\n"
    folder = stack.put({"shelved/log.txt": text}, "documents") / "shelved"
    conf = {"documents": [folder.as_uri()], "targets": ["pt"], "source": "en", "tenant": TENANT}
    run_id = stack.api.trigger(DAG, conf | {"idempotency_key": TENANT})
    for dag in (ARCHIVE, RESTORE, SCRUB, PURGE):
        stack.api.wait_for_dag(dag)
    assert stack.ended(run_id) == "success"
    return stack.job(TENANT, TENANT)


def _run(stack: Stack, dag: str, **conf: str) -> str:
    return stack.api.trigger(dag, conf)


def _ended(stack: Stack, dag: str, run_id: str, task: str) -> Any:
    """What a task returned, in the one instance it had, of a run that ended well."""
    assert stack.ended(run_id, dag) == "success"
    (found,) = [
        value for (name, _, key), value in stack.xcoms(run_id, dag).items() if (name, key) == (task, "return_value")
    ]
    return found


def _hot(stack: Stack, job: Job) -> dict[str, str]:
    """Checksum of every object of the job in hot, and of its raw documents."""
    store, documents = stack.line.store, stack.line.documents(str(job.job_id)).values()
    keys = [key for prefix in layout.hot_prefixes(job.job_id) for key, _ in store.keys(prefix)]
    keys += [layout.raw_key(document.document_id) for document in documents]
    return {key: hashlib.sha256(store.get(key)).hexdigest() for key in sorted(keys)}


def _rows(stack: Stack, job: Job) -> dict[str, list[tuple[Any, ...]]]:
    with psycopg.connect(stack.line.ledger.dsn) as connection:
        return {
            table: connection.execute(
                f"SELECT * FROM {table} WHERE job_id = %s ORDER BY {table}::text".encode(), (job.job_id,)
            ).fetchall()
            for table in KEYED
        }


def test_a_job_goes_cold_comes_back_and_is_erased(stack: Stack, job: Job) -> None:
    key, hot, rows = str(job.job_id), _hot(stack, job), _rows(stack, job)
    told = _ended(stack, ARCHIVE, _run(stack, ARCHIVE, job_id=key), "report")
    assert told["done"]["archive"] == 1
    assert stack.line.job(key).residence == "warm"
    assert (_hot(stack, job), {t for t, found in _rows(stack, job).items() if found}) == ({}, {"jobs"})

    found = _ended(stack, SCRUB, _run(stack, SCRUB), "scrub")
    assert (found["archives"], found["damaged"]) == (1, 0)
    assert _ended(stack, RESTORE, _run(stack, RESTORE, job_id=key), "restore") == 1
    assert _hot(stack, job) == hot
    assert _rows(stack, job) == rows
    verified = stack.tradu("verify", key)
    assert verified.returncode == 0, verified.stderr

    erased = _ended(stack, PURGE, _run(stack, PURGE, tenant=TENANT), "erase")
    assert erased["jobs"] == 1
    assert stack.line.job(key).residence == "purged"
    assert {t for t, left in _rows(stack, job).items() if left} == {"jobs"}
    gone = [*hot, layout.archive_key(job.job_id), layout.pack_key(job.job_id, 0)]
    assert [name for name in gone if stack.line.store.exists(name)] == []
    certified = json.loads(stack.tradu("archive", "certificates", "--json").stdout)
    assert {(c["kind"], c["subject_sha256"], c["by"]) for c in certified} >= {
        ("job", hashlib.sha256(key.encode()).hexdigest(), PURGE),
        ("tenant", hashlib.sha256(TENANT.encode()).hexdigest(), PURGE),
    }
