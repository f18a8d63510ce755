"""Admits jobs: a request is checked, named by its idempotency key, and started."""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from tradu.admission import MOST_PRIORITY, NORMAL_PRIORITY, AdmissionPolicy, Waiting
from tradu.documents.model import FormatOptions
from tradu.errors import RequestError
from tradu.ledger import ids, turns
from tradu.ledger.connection import Ledger, Transaction
from tradu.ledger.rows import Job
from tradu.ledger.states import JobState

_LANGUAGE = re.compile(r"^[a-z]{2,3}([-_][A-Za-z0-9]{2,8})?$")
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What somebody asks for."""

    documents: Sequence[str]
    targets: Sequence[str]
    idempotency_key: str
    source: str = "auto"
    profile: str = "balanced"
    tenant: str = "default"
    region: str = "default"
    request_id: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    max_cost: float | None = None
    """What the job may cost, in the currency of TRADU_CPU_PRICE_PER_HOUR; None: whatever it takes."""
    priority: int = NORMAL_PRIORITY
    """0 to 10: where jobs of a tenant wait, the highest is let in first."""

    def check(self) -> None:
        """Refuse what can be seen to be wrong.

        Raises:
            RequestError: names the field, what is wrong with it, and what is right.
        """
        if not self.documents:
            raise RequestError("documents: name at least one file, folder, glob or URI")
        if not self.targets:
            raise RequestError("targets: name at least one language to translate into, e.g. pt")
        for name, value in (*(("targets", t) for t in self.targets), ("source", self.source)):
            if not _LANGUAGE.match(value) and (name, value) != ("source", "auto"):
                raise RequestError(f"{name}: {value!r} is not a language code such as pt, es or pt-BR")
        if len(set(self.targets)) < len(self.targets):
            raise RequestError(f"targets: {', '.join(self.targets)} names a language twice")
        for name, value in (("tenant", self.tenant), ("region", self.region)):
            if not _NAME.match(value):
                raise RequestError(f"{name}: {value!r} must be letters, digits, '.', '_' or '-', at most 63")
        if not self.idempotency_key or len(self.idempotency_key) > 200:
            raise RequestError("idempotency_key: must have 1 to 200 characters")
        if self.max_cost is not None and not 0 <= self.max_cost < math.inf:
            raise RequestError(f"max_cost: {self.max_cost} must be a number from 0 on")
        if not 0 <= self.priority <= MOST_PRIORITY:
            raise RequestError(f"priority: {self.priority} must be a number from 0 to {MOST_PRIORITY}")


@dataclass(frozen=True, slots=True)
class Admission:
    """Which job a request is, and whether there is anything left to do."""

    job_id: UUID
    state: str
    proceed: bool


def admit(request: JobRequest, run_id: str, ledger: Ledger, policy: AdmissionPolicy | None = None) -> Admission:
    """Make the job of a request, or find the one its key names; start it, or start it again where it is not complete.

    A job that is COMPLETED or CANCELED is left alone. One that ended PARTIAL or in ERROR runs again: what is done
    stays, quarantined blocks get a new budget. One that runs goes on under this DAG run. A new one waits, in the state
    DEFERRED, where the policy says that there is no room for it; so does one that ended before its turn had come.

    Raises:
        RequestError: the request is wrong, its key names a job of other documents or languages or an archived one, or
            too many jobs of its tenant wait.
    """
    request.check()
    names = {"tenant": request.tenant, "idempotency_key": request.idempotency_key}
    with ledger.transaction(request.request_id) as tx:
        found = tx.rows("job_of_key", Job, **names)
        if not found:
            _make(tx, request, run_id, policy)
        elif found[0].state == JobState.ERROR and found[0].started_at is None:
            _ask_again(tx, found[0], request.request_id, run_id, policy)
        (job,) = tx.rows("job_of_key", Job, **names)
        must_be_of(job, request)
        tx.run("set_budget", job_id=job.job_id, max_cost=request.max_cost)  # asked for again, it may get more
        if job.state in (JobState.COMPLETED, JobState.CANCELED):
            return Admission(job.job_id, job.state, proceed=False)
        if job.state == JobState.DEFERRED:
            tx.run("adopt_job", job_id=job.job_id, run_id=run_id)
            return Admission(job.job_id, job.state, proceed=False)
        must_be_hot(job)
        again = job.state in (JobState.PARTIAL, JobState.ERROR)
        moved = tx.run("start_job", job_id=job.job_id, run_id=run_id, request_id=request.request_id)
        if not moved:
            tx.run("adopt_job", job_id=job.job_id, run_id=run_id)
        if again:
            tx.run("retry_blocks", job_id=job.job_id)
            tx.run("settle_letters", job_id=job.job_id)
            tx.run("retry_documents", job_id=job.job_id)
    return Admission(job.job_id, JobState.RUNNING, proceed=True)


def _make(tx: Transaction, request: JobRequest, run_id: str, policy: AdmissionPolicy | None) -> None:
    """A new job, ADMITTED or DEFERRED; nothing where somebody else has just made it."""
    now = datetime.now(UTC)
    tx.connection.execute("SELECT ensure_partitions(%s)", (now,))
    job_id = ids.new_job_id(now, secrets.token_bytes(10))
    why = _why_it_waits(tx, Waiting(job_id, request.tenant, request.region, request.priority, now), policy)
    tx.run(
        "admit_job",
        job_id=job_id,
        tenant=request.tenant,
        region=request.region,
        idempotency_key=request.idempotency_key,
        request_id=request.request_id,
        run_id=run_id,
        state=JobState.ADMITTED if why is None else JobState.DEFERRED,
        source=request.source,
        targets=list(request.targets),
        profile=request.profile,
        documents=list(request.documents),
        options=Jsonb(dict(request.options), dumps=json.dumps),
        max_cost=request.max_cost,
        priority=request.priority,
        reason=why,
    )


def _ask_again(tx: Transaction, job: Job, request_id: str, run_id: str, policy: AdmissionPolicy | None) -> None:
    """A job that ended in ERROR before its turn had come: DEFERRED again, at its old place, where there is no room."""
    why = _why_it_waits(tx, Waiting(job.job_id, job.tenant, job.region, job.priority, job.created_at), policy)
    if why is not None:
        tx.run("defer_job", job_id=job.job_id, run_id=run_id, request_id=request_id, reason=why)


def _why_it_waits(tx: Transaction, newcomer: Waiting, policy: AdmissionPolicy | None) -> str | None:
    """Take a turn; why a job that doesn't wait yet has to, None: it may run.

    Raises:
        RequestError: too many jobs of its tenant wait already.
    """
    if policy is None:
        return None
    turn = turns.take(tx, policy, newcomer)
    if newcomer.job_id in turn.admitted:
        return None
    answer = turns.may_wait(tx, newcomer.tenant, policy)
    if not answer.may_submit:
        raise RequestError(f"{answer.reason}: ask again in {answer.retry_after_seconds:.0f} s")
    return turn.why


def must_be_of(job: Job, request: JobRequest) -> None:
    """Make sure that a key is used again for what it has named, and for nothing else.

    Raises:
        RequestError: the job's documents, languages, profile or options are others.
    """
    theirs = (sorted(job.documents), job.source, job.targets, job.profile, job.options)
    ours = (sorted(request.documents), request.source, list(request.targets), request.profile, dict(request.options))
    for name, had, asked in zip(("documents", "source", "targets", "profile", "options"), theirs, ours, strict=True):
        if had != asked:
            raise RequestError(
                f"idempotency_key {request.idempotency_key!r} names job {job.job_id}, whose {name} are not these: "
                "use another key"
            )


def must_be_hot(job: Job) -> None:
    """Make sure that the line can work with a job.

    Raises:
        RequestError: it is archived, or was purged.
    """
    if job.residence != "hot":
        remedy = f"`tradu archive restore {job.job_id}` brings it back" if job.residence != "purged" else "it is gone"
        raise RequestError(f"job {job.job_id} is {job.residence}, not hot: {remedy}")


def conf_of(request: JobRequest | Job) -> dict[str, Any]:
    """The conf of the DAG run for a request; that of a job goes on with the job."""
    return {
        "documents": list(request.documents),
        "source": request.source,
        "targets": list(request.targets),
        "profile": request.profile,
        "tenant": request.tenant,
        "region": request.region,
        "idempotency_key": request.idempotency_key,
        "options": dict(request.options),
        "max_cost": request.max_cost,
        "priority": request.priority,
    }


def find(job_id: UUID, ledger: Ledger) -> Job:
    """A job by its id.

    Raises:
        RequestError: there is none.
    """
    with ledger.transaction() as tx:
        jobs = tx.rows("job", Job, job_id=job_id)
    if not jobs:
        raise RequestError(f"no job {job_id}: `tradu jobs` lists them")
    return jobs[0]


def format_options(job: Job) -> FormatOptions:
    """What the job says about its documents."""
    chosen = {name: job.options.get(name) for name in ("columns", "fields")}
    return FormatOptions(
        columns=tuple(chosen["columns"]) if chosen["columns"] else None,
        fields=tuple(chosen["fields"]) if chosen["fields"] else None,
        encoding=job.options.get("encoding"),
    )
