"""Starts the run of a request, or joins the one that works on it already, and sees it to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tradu.admission import NORMAL_PRIORITY
from tradu.cli import report as reports
from tradu.cli.again import live_run
from tradu.cli.airflow import AirflowClient
from tradu.cli.failures import REFUSED, UNFINISHED
from tradu.cli.output import Output
from tradu.cli.progress import display_for
from tradu.cli.uploads import content_key, find_files, hashed, random_part, upload
from tradu.cli.watch import DAG, find_job, watch, why_failed
from tradu.errors import RequestError
from tradu.ledger.connection import Ledger
from tradu.ledger.jobs import JobRequest, conf_of, must_be_of
from tradu.ledger.rows import Job
from tradu.ledger.states import JOB_ENDED, JobState
from tradu.settings import Settings
from tradu.store import Store


@dataclass(frozen=True, slots=True)
class Wishes:
    """What somebody asks for, documents apart."""

    targets: Sequence[str]
    source: str = "auto"
    profile: str = "balanced"
    tenant: str = "default"
    region: str = "default"
    columns: Sequence[str] | None = None
    fields: Sequence[str] | None = None
    encoding: str | None = None
    key: str | None = None
    force: bool = False
    max_cost: float | None = None
    priority: int = NORMAL_PRIORITY

    @property
    def options(self) -> dict[str, Any]:
        """What is said about the documents' formats."""
        columns, fields = (list(names) if names else None for names in (self.columns, self.fields))
        return {"columns": columns, "fields": fields, "encoding": self.encoding}

    def content(self) -> dict[str, Any]:
        """What makes two requests for the same documents different ones. The order of languages does not."""
        asked = {
            "targets": sorted(self.targets),
            "source": self.source,
            "profile": self.profile,
            "tenant": self.tenant,
        }
        return asked | {"options": self.options}


def prepare(names: Sequence[str], wishes: Wishes, settings: Settings, output: Output) -> JobRequest:
    """Check a request, upload its documents and name it.

    URIs are handed on as they are; what lies there may change, so a request with URIs is always a new one.

    Raises:
        RequestError: the request is wrong, or a document can't be read.
    """
    uris = sorted({name for name in names if "://" in name})
    local = [name for name in names if "://" not in name]
    _request(uris or ["pending"], wishes, wishes.key or "pending").check()
    files = hashed(find_files(local))
    if len(files) > settings.max_documents:
        raise RequestError(f"{len(files):,} documents: the limit is {settings.max_documents:,} (TRADU_MAX_DOCUMENTS)")
    folder = content_key(files, uris, wishes.content())
    key = wishes.key or (f"{folder}-{random_part()}" if wishes.force or uris else folder)
    if wishes.key and wishes.force:
        key = f"{wishes.key}-{random_part()}"
    documents = list(uris)
    if files:
        size = sum(f.size_bytes for f in files)
        output.warn(f"{len(files):,} documents, {size:,} bytes, to the store")
        documents.append(upload(files, Store(settings.store), folder))
    return _request(documents, wishes, key)


def _request(documents: Sequence[str], wishes: Wishes, key: str) -> JobRequest:
    return JobRequest(
        documents=documents,
        targets=sorted(wishes.targets),
        idempotency_key=key,
        source=wishes.source,
        profile=wishes.profile,
        tenant=wishes.tenant,
        region=wishes.region,
        options=wishes.options,
        max_cost=wishes.max_cost,
        priority=wishes.priority,
    )


def start(client: AirflowClient, ledger: Ledger, request: JobRequest, output: Output) -> str:
    """The run that works on the request: the one that does already, else a new one."""
    job = find_job(ledger, request.tenant, request.idempotency_key)
    if job is not None:
        must_be_of(job, request)
    if job is not None and job.state not in JOB_ENDED and (run_id := live_run(client, job)):
        output.warn(f"job {job.job_id} is at work on this already")
        return run_id
    client.wait_for_dag(DAG)
    return client.trigger(DAG, conf_of(request))


def finish(
    client: AirflowClient, ledger: Ledger, request: JobRequest, run_id: str, output: Output
) -> reports.Report | None:
    """Show the run's progress until it has ended; the report of its job, None where the run was refused one.

    Raises:
        KeyboardInterrupt: after having said that the job goes on, and how to look after it.
    """
    pictures = watch(client, ledger, run_id, request.tenant, request.idempotency_key)
    try:
        last = display_for(output).show(pictures)
    except KeyboardInterrupt:
        _say_how_to_go_on(
            find_job(ledger, request.tenant, request.idempotency_key), client.run_url(DAG, run_id), output
        )
        raise
    job = find_job(ledger, request.tenant, request.idempotency_key)
    failed = last is not None and last.run.state == "failed"
    if job is not None and failed and job.run_id != run_id:
        job = None  # its key names a job of another request, which this run never was given
    if failed and (job is None or job.state != JobState.CANCELED):
        why = why_failed(client, run_id, job) or "no task says why"
        output.warn(f"the run failed: {why}\n  its logs: {client.run_url(DAG, run_id)}")
    return None if job is None else reports.load(ledger, job)


def _say_how_to_go_on(job: Job | None, url: str, output: Output) -> None:
    if job is None:
        output.warn(f"\nThe request goes on without you: {url}; `tradu jobs` lists its job in a moment")
        return
    output.warn(
        f"\nJob {job.job_id} goes on without you.\n"
        f"  look at it:  tradu job {job.job_id}\n"
        f"  cancel it:   tradu cancel {job.job_id}"
    )


def conclude(report: reports.Report | None, output: Output, settings: Settings, out: Path | None = None) -> int:
    """Print what became of the job, copy its output where that is wanted; the exit code."""
    if report is None:
        return REFUSED
    if out is not None:
        copied = reports.copy_out(report, Store(settings.store), out)
        output.warn(f"{copied:,} documents copied to {out}")
    if output.as_json:
        output.data(reports.as_data(report, settings.store))
    else:
        reports.show(report, output, settings.store)
    if report.job.state == JobState.CANCELED:
        output.warn("This request was cancelled; --force asks for it again.")
    # the run has ended: a job that is still open was left behind by it
    return report.exit_code if report.job.state in JOB_ENDED else UNFINISHED
