"""`tradu jobs`, `job`, `blocks` and `cancel`: looking at jobs, and stopping them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tradu.cli import options
from tradu.cli.output import Output, plain, seconds
from tradu.errors import RequestError, TraduError
from tradu.ledger.states import BlockState, JobState

if TYPE_CHECKING:
    from tradu.cli.watch import Stage
    from tradu.ledger.rows import Job
    from tradu.settings import Settings


def jobs(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many.")] = 20,
    as_json: options.Json = False,
) -> None:
    """List jobs, the newest first.

    \b
    Examples:
      tradu jobs
      tradu jobs --limit 100 --json
    """
    from tradu.cli.ledger import open_ledger
    from tradu.cli.report import summary
    from tradu.ledger.rows import Job
    from tradu.settings import get_settings

    output = Output(as_json)
    with open_ledger(get_settings()).transaction() as tx:
        found = tx.rows("jobs", Job, limit=limit)
    if as_json:
        output.data(found)
    elif found:
        output.table(("job", "state", "languages", "profile", "tenant", "asked for", "reason"), map(summary, found))
    else:
        output.warn("There are no jobs yet: tradu translate PATH --to pt")


def job(job_id: options.JobId, as_json: options.Json = False) -> None:
    """Show one job: stages, blocks, models, cost, and what was not translated.

    \b
    Examples:
      tradu job 019a7c2e-5b1d-7c3a-9f00-3d2c1b0a9f8e
      tradu job 0a9f8e
      tradu job 0a9f8e --json

    Exit codes: 0 it is COMPLETED or still runs, 1 it is PARTIAL, ERROR or CANCELED.
    """
    from tradu.cli import report as reports
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.settings import get_settings

    output, settings = Output(as_json), get_settings()
    ledger = open_ledger(settings)
    report = reports.load(ledger, find_job(ledger, job_id))
    stages = _stages(report.job, settings, output)
    if as_json:
        output.data(reports.as_data(report, settings.store) | {"stages": plain(stages)})
    else:
        reports.show(report, output, settings.store)
        reports.show_documents(report, output)
        if report.job.residence != "hot":
            gone = report.job.residence == "purged"
            remedy = "removed for ever" if gone else f"tradu archive restore {report.job.job_id} brings them back"
            output.warn(f"Its documents and blocks are {report.job.residence}: {remedy}")
        if stages:
            output.say("")
            output.table(("stage", "state", ">seconds"), ((s.name, s.state, seconds(s.seconds)) for s in stages))
    raise typer.Exit(report.exit_code)


def _stages(job: Job, settings: Settings, output: Output) -> tuple[Stage, ...]:
    """The stages of the job's last run; none, and a word why, where Airflow can't say."""
    from datetime import UTC, datetime

    from tradu.cli.airflow import connect
    from tradu.cli.watch import DAG, stages

    if job.run_id is None:
        return ()
    try:
        client = connect(settings)
        return stages(client.task_order(DAG), client.task_instances(DAG, job.run_id), datetime.now(UTC))
    except TraduError as error:
        output.warn(f"its stages are not known: {error}")
        return ()


def blocks(
    job_id: options.JobId,
    state: Annotated[
        BlockState | None, typer.Option("--state", case_sensitive=False, help="Only those in this state.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many.")] = 50,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="PLACE", help="The page after this place, which the page before names."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List the blocks of a job, a page at a time, by document (its SHA-256), language and number.

    \b
    Examples:
      tradu blocks 0a9f8e
      tradu blocks 0a9f8e --state ERROR
      tradu blocks 0a9f8e --limit 1000 --json
    """
    from tradu.assembly.pages import Place
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.ledger.rows import Block
    from tradu.settings import get_settings

    output, ledger = Output(as_json), open_ledger(get_settings())
    place = Place() if after is None else Place.parse(after)
    asked = {"job_id": find_job(ledger, job_id).job_id, "state": state.value if state else None, "limit": limit}
    begins = {"after_document": place.document_id, "after_target": place.target, "after_number": place.number}
    with ledger.transaction() as tx:
        found = tx.rows("blocks", Block, **asked, **begins)
    if len(found) == limit:
        output.warn(f"There may be more: --after {Place(found[-1].document_id, found[-1].target, found[-1].number)}")
    if as_json:
        output.data(found)
        return
    headings = (
        "document",
        "from",
        "to",
        ">number",
        "state",
        ">attempt",
        ">characters",
        "tier",
        "models",
        ">score",
        "reason",
    )
    rows = (
        (
            b.path,
            b.source,
            b.target,
            b.number,
            b.state,
            b.attempt,
            b.characters,
            b.tier,
            b.models,
            b.score,
            b.reason or "",
        )
        for b in found
    )
    output.table(headings, rows)


def cancel(job_id: options.JobId, as_json: options.Json = False) -> None:
    """Cancel a job: nothing more of it is begun, what is finished is kept.

    \b
    Examples:
      tradu cancel 019a7c2e-5b1d-7c3a-9f00-3d2c1b0a9f8e
      tradu cancel 0a9f8e
    """
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.ledger import cancel as ledger_cancel
    from tradu.ledger import jobs as ledger_jobs
    from tradu.settings import get_settings

    output, settings = Output(as_json), get_settings()
    ledger = open_ledger(settings)
    found = find_job(ledger, job_id)
    count = ledger_cancel.cancel(ledger, found)
    ended = ledger_jobs.find(found.job_id, ledger)
    stopped = ended.state == JobState.CANCELED and _stop_run(ended, settings, output)
    if as_json:
        output.data({"job_id": ended.job_id, "state": ended.state, "blocks_canceled": count, "run_stopped": stopped})
    elif ended.state == JobState.CANCELED:
        output.say(f"Job {ended.job_id} is CANCELED: {count:,} blocks were open.")
    else:
        output.say(f"Job {ended.job_id} has ended already: {ended.state}.")


def _stop_run(job: Job, settings: Settings, output: Output) -> bool:
    """Mark the job's run failed. The ledger has stopped the work: without Airflow its tasks end by themselves."""
    from tradu.cli.airflow import connect
    from tradu.cli.watch import DAG

    if job.run_id is None:
        return False
    try:
        return connect(settings).fail(DAG, job.run_id)
    except RequestError as error:
        output.warn(f"its run could not be marked: {error}")
    except TraduError as error:
        output.warn(f"its run ends by itself at its next stage: {error}")
    return False
