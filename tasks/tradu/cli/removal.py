"""Commands of `tradu archive` about what may or must go for ever: purge, certificates, legal hold."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tradu.cli import options
from tradu.cli.output import Output
from tradu.cli.person import me
from tradu.errors import RequestError

LOOK_AGAIN_SECONDS = 30.0
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def purge(
    job_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Remove this job. None: what the policy says.")
    ] = None,
    document: Annotated[
        str | None, typer.Option("--document", metavar="SHA256", help="Erase this document from every job.")
    ] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Erase every job of a tenant.")] = None,
    wait: Annotated[
        bool, typer.Option(help="Wait for archives of the document that must be asked for (Glacier).")
    ] = True,
    yes: Yes = False,
    as_json: options.Json = False,
) -> None:
    """Remove for ever: objects, archives, rows and history. A certificate without names stays in the ledger.

    \b
    Examples:
      tradu archive purge
      tradu archive purge 0a9f8e --yes
      tradu archive purge --tenant acme

    Exit codes: 0 well, 1 something stays (`tradu incidents` says why), or must still be waited for.
    """
    from tradu.archival import erase
    from tradu.archival import run as archiving
    from tradu.archival.policy import Act, Due, Residence, load_policy
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.settings import get_settings

    settings = get_settings()
    output, ledger, by = Output(as_json), open_ledger(settings), me()
    if sum(map(bool, (job_id, document, tenant))) > 1:
        raise RequestError("say one of a job, --document and --tenant")
    found = [] if document or tenant else archiving.due_now(archiving.PURGING)
    if job_id:
        found = [Due(archiving.free(ledger, find_job(ledger, job_id).job_id).job_id, Act.PURGE, Residence.PURGED, 0)]
    what = f"document {document}" if document else f"tenant {tenant}" if tenant else f"{len(found):,} jobs"
    if (found or document or tenant) and not yes:
        typer.confirm(f"Remove {what} for ever?", abort=True)
    if _asleep(output, erase.archives_to_read(document), wait):
        raise typer.Exit(1)
    counts = erase.on_request(by, document, tenant)
    done, policy = archiving.Done(), load_policy(settings)
    for _ in archiving.carry_out_all(found, policy, by, done, kind="job" if job_id else "retention"):
        pass
    if as_json:
        output.data({**counts, **done.jobs})
    else:
        jobs = counts.get("jobs", 0) + done.jobs[Act.PURGE]
        output.say(f"Removed for ever: {what} ({jobs:,} jobs concerned, {done.jobs['left']:,} stay).")
    raise typer.Exit(1 if done.jobs["left"] else 0)


def _asleep(output: Output, jobs: list[str], wait: bool) -> bool:
    """Ask for archives that lie in Glacier, and wait for them if that is wanted; whether some can't be read yet."""
    from tradu.archival import run

    left = run.wake(jobs)
    while left:
        output.warn(f"{len(left):,} archives that have it were asked for; nothing is removed yet, call this again")
        if not wait:
            return True
        time.sleep(LOOK_AGAIN_SECONDS)
        left = run.asleep(left)
    return False


def certificates(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many.")] = 50, as_json: options.Json = False
) -> None:
    """List the certificates of what was removed for ever, the newest first.

    \b
    Examples:
      tradu archive certificates
    """
    from tradu.archival.purge import certificates as written
    from tradu.cli.ledger import open_ledger
    from tradu.settings import get_settings

    output = Output(as_json)
    found = written(open_ledger(get_settings()), limit)
    if as_json:
        output.data(found)
    else:
        rows = ((f"{c.at:%Y-%m-%d %H:%M}", c.kind, c.subject_sha256, c.by, c.counts) for c in found)
        output.table(("at (UTC)", "what", "SHA-256 of its id", "by", "removed"), rows)


def _hold(job_id: str, held: bool, as_json: bool) -> None:
    from tradu.archival import catalogue
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.settings import get_settings

    output, ledger = Output(as_json), open_ledger(get_settings())
    job = find_job(ledger, job_id)
    catalogue.hold(ledger, job.job_id, held, me())
    if as_json:
        output.data({"job_id": job.job_id, "legal_hold": held})
    else:
        output.say(f"Job {job.job_id} is {'now' if held else 'no longer'} under legal hold.")


def hold(job_id: options.JobId, as_json: options.Json = False) -> None:
    """Put a job under legal hold: it is neither archived nor purged until it is released.

    \b
    Examples:
      tradu archive hold 0a9f8e
    """
    _hold(job_id, True, as_json)


def release(job_id: options.JobId, as_json: options.Json = False) -> None:
    """End the legal hold of a job.

    \b
    Examples:
      tradu archive release 0a9f8e
    """
    _hold(job_id, False, as_json)
