"""`tradu verify`, `incidents`, `decide`, `resume` and `ledger`: what a person needs when something went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tradu.cli import options
from tradu.cli.output import Output
from tradu.cli.person import me
from tradu.errors import RequestError
from tradu.ledger.states import Decision

if TYPE_CHECKING:
    from tradu.ledger.rewind import Mark


def verify(
    job_id: options.JobId,
    redo: Annotated[
        bool, typer.Option("--redo", help="Translate again what lay in objects that are missing or damaged.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Prove that raw bytes, segments, blocks, results, output and manifest of a job agree.

    \b
    Examples:
      tradu verify 0a9f8e
      tradu verify 0a9f8e --redo

    Exit codes: 0 all agrees, 1 something does not.
    """
    from tradu import verify as verification
    from tradu.cli.again import new_run
    from tradu.cli.airflow import connect
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.ledger import decisions
    from tradu.settings import get_settings
    from tradu.store import Store

    settings = get_settings()
    output, ledger = Output(as_json), open_ledger(settings)
    job = find_job(ledger, job_id)
    if job.residence in ("warm", "cold"):
        raise RequestError(f"job {job.job_id} is archived: `tradu archive verify {job.job_id}` reads its archive back")
    found = verification.verify(job, ledger, Store(settings.store))
    again, run_id = 0, None
    if redo and found.lost_results:
        client = connect(settings)
        again = decisions.redo(ledger, job, found.lost_results, "its results were lost")
        run_id = new_run(client, job) if again else None
    if as_json:
        output.data({"job_id": job.job_id, "findings": found, "blocks_again": again, "run_id": run_id})
    else:
        for fault in found.faults:
            output.say(f"{fault.key} {fault.problem}")
        output.say(
            f"Job {job.job_id}: {found.objects:,} objects, {found.blocks:,} blocks, {found.segments:,} segments "
            f"looked at; {len(found.faults):,} faults"
        )
        if again:
            output.say(f"{again:,} blocks are translated again by run {run_id}")
        elif found.lost_results:
            output.warn(f"tradu verify {job.job_id} --redo translates again what lay in the lost objects")
    raise typer.Exit(1 if found.faults else 0)


def incidents(
    job_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A job's id or a part of it. None: all.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many.")] = 50,
    as_json: options.Json = False,
) -> None:
    """List what went wrong and is no state of a block: refused results, lost workers, open circuits, orphans, alerts.

    \b
    Examples:
      tradu incidents
      tradu incidents 0a9f8e --json
    """
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.ledger.rows import Incident
    from tradu.settings import get_settings

    output, ledger = Output(as_json), open_ledger(get_settings())
    wanted = find_job(ledger, job_id).job_id if job_id else None
    with ledger.transaction() as tx:
        found = tx.rows("incidents", Incident, job_id=wanted, limit=limit)
    if as_json:
        output.data(found)
    elif found:
        rows = ((f"{i.at:%Y-%m-%d %H:%M:%S}", i.kind, i.job_id, i.entity_id or "", i.actor, i.reason) for i in found)
        output.table(("at (UTC)", "what", "job", "of", "who", "reason"), rows)
    else:
        output.warn("There were no incidents.")


def decide(
    job_id: options.JobId,
    decision: Annotated[Decision, typer.Argument(metavar="accept|retry|drop", help="What becomes of it.")],
    as_json: options.Json = False,
) -> None:
    """Decide about a job that a gate has stopped, as under Required actions in the Airflow UI.

    accept: go on, and quarantine what is bad. retry: run again, with the next profile for what the gate on translations
    refused. drop: leave it in ERROR.

    \b
    Examples:
      tradu decide 0a9f8e accept
    """
    from tradu import line
    from tradu.cli.again import new_run
    from tradu.cli.airflow import connect
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.settings import get_settings

    settings = get_settings()
    output, ledger, client = Output(as_json), open_ledger(settings), connect(settings)
    job = find_job(ledger, job_id)
    if job.stopped_by is None:
        raise RequestError(f"job {job.job_id} ({job.state}) waits for no decision")
    go_on = line.decide(str(job.job_id), job.stopped_by, decision, me())
    run_id = new_run(client, job) if go_on else None
    if as_json:
        output.data({"job_id": job.job_id, "decision": decision, "run_id": run_id})
    else:
        output.say(f"Job {job.job_id}: {decision}." + (f" Run {run_id} goes on with it." if run_id else ""))


def resume(job_id: options.JobId, as_json: options.Json = False) -> None:
    """Go on with a job whose run has ended or is gone: what is done stays, what failed is tried again.

    \b
    Examples:
      tradu resume 0a9f8e
    """
    from tradu.cli.again import live_run, new_run
    from tradu.cli.airflow import connect
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.ledger.states import JOB_ENDED, JobState
    from tradu.settings import get_settings

    settings = get_settings()
    output, ledger, client = Output(as_json), open_ledger(settings), connect(settings)
    job = find_job(ledger, job_id)
    if job.state in (JobState.COMPLETED, JobState.CANCELED):
        raise RequestError(f"job {job.job_id} is {job.state}: there is nothing to go on with")
    run_id = (live_run(client, job) if job.state not in JOB_ENDED else None) or new_run(client, job)
    if as_json:
        output.data({"job_id": job.job_id, "run_id": run_id})
    else:
        output.say(f"Run {run_id} goes on with job {job.job_id}.")


LEDGER_HELP = """Which ledger this is, whether it is trusted, and what it takes.

\b
Examples:
  tradu ledger status
  tradu ledger partitions
  tradu ledger accept
"""
ledger = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=LEDGER_HELP)


@ledger.command()
def status(as_json: options.Json = False) -> None:
    """Show how far ledger and store have come; exit code 1 where the ledger is older than the store, or another one.

    \b
    Examples:
      tradu ledger status
    """
    from tradu.cli.ledger import open_ledger
    from tradu.ledger import rewind
    from tradu.settings import get_settings
    from tradu.store import Store

    settings = get_settings()
    output = Output(as_json)
    opened = open_ledger(settings)
    here, mark = rewind.now(opened), rewind.known(opened, Store(settings.store))
    problem = rewind.difference(here, mark)
    if as_json:
        output.data({"ledger": here, "store": mark, "problem": problem})
    else:
        output.table(("", "ledger", "generation", "token"), [_shown("ledger", here), _shown("store", mark)])
        output.warn(f"{problem}: `tradu ledger accept`, or restore the right one" if problem else "They agree.")
    raise typer.Exit(1 if problem else 0)


def _shown(name: str, mark: Mark | None) -> tuple[object, ...]:
    return (name, mark.ledger_id, str(mark.generation), str(mark.token)) if mark else (name, "-", "-", "-")


@ledger.command()
def accept(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False, as_json: options.Json = False
) -> None:
    """Go on with a ledger that was restored to an older state. What it has forgotten is done again, and not mixed.

    \b
    Examples:
      tradu ledger accept --yes
    """
    from tradu.cli.ledger import open_ledger
    from tradu.ledger import rewind
    from tradu.settings import get_settings
    from tradu.store import Store

    settings = get_settings()
    output, opened, store = Output(as_json), open_ledger(settings), Store(settings.store)
    if not yes:
        typer.confirm("Go on with this ledger and this store, whatever they have forgotten?", abort=True)
    renewed = rewind.accept(opened, store, me())
    if as_json:
        output.data(renewed)
    else:
        output.say(f"The ledger is accepted as generation {renewed.generation}; tokens go on from {renewed.token}.")


@ledger.command()
def partitions(as_json: options.Json = False) -> None:
    """Show what the ledger has of each month: jobs, those not archived, rows (an estimate) and bytes.

    A month that is over is dropped by the watchdog once all its jobs are archived or purged.

    \b
    Examples:
      tradu ledger partitions
    """
    from tradu.cli.ledger import open_ledger
    from tradu.ledger import partitions as months
    from tradu.settings import get_settings

    output = Output(as_json)
    found = months.look(open_ledger(get_settings()))
    if as_json:
        output.data([{"month": str(m.month), "jobs": m.jobs, "hot": m.hot, "partitions": m.partitions} for m in found])
    else:
        rows = ((str(m.month), m.jobs, m.hot, m.rows, f"{m.size_bytes / 1e6:,.1f} MB") for m in found)
        output.table(("month", ">jobs", ">not archived", ">rows", ">size"), rows)
