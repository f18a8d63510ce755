"""`tradu archive`: what is old goes to where it is cheap, comes back bit for bit, or is removed for ever."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from tradu.cli import options, removal
from tradu.cli.output import Output, money
from tradu.cli.person import me
from tradu.errors import RequestError

if TYPE_CHECKING:
    from tradu.archival.policy import Due
    from tradu.ledger.connection import Ledger

HELP = """Archive old jobs, and bring them back.

\b
Examples:
  tradu archive run --dry-run
  tradu archive list
  tradu archive restore 0a9f8e
"""
archive = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)
LOOK_AGAIN_SECONDS = 30.0
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Jobs made on this day (UTC) or later.")]


@archive.command("list")
def list_(
    job_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A job's id or a part of it. None: all.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many.")] = 50,
    offset: Annotated[int, typer.Option("--offset", min=0, help="How many to leave out first.")] = 0,
    kept: Annotated[
        bool, typer.Option("--kept", help="Jobs that stay where they are, however old, and why; instead of archives.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """List the archives, the newest first: where each job lies and what it takes there.

    \b
    Examples:
      tradu archive list
      tradu archive list 0a9f8e --json
      tradu archive list --kept
    """
    from tradu.archival import catalogue
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.settings import get_settings

    output, ledger = Output(as_json), open_ledger(get_settings())
    if kept:
        _show_kept(output, ledger, limit)
        return
    wanted = find_job(ledger, job_id).job_id if job_id else None
    with ledger.transaction() as tx:
        found = catalogue.archives(tx, wanted, limit, offset)
    if as_json:
        output.data(found)
    elif found:
        headings = ("job", "tenant", "lies in", "hold", "archived (UTC)", ">objects", ">blocks", ">hot bytes", ">bytes")
        rows = (
            (a.job_id, a.tenant, a.residence, a.legal_hold, f"{a.made_at:%Y-%m-%d %H:%M}", a.objects, a.blocks,
             a.hot_bytes, a.cold_bytes)
            for a in found
        )  # fmt: skip
        output.table(headings, rows)
    else:
        output.warn("There are no archives: `tradu archive run --dry-run` says what is due.")


def _show_kept(output: Output, ledger: Ledger, limit: int) -> None:
    from tradu.archival import catalogue

    with ledger.transaction() as tx:
        found = catalogue.kept(tx, limit)
    if output.as_json:
        output.data(found)
    elif found:
        output.table(("job", "tenant", "lies in", "why"), ((k.job_id, k.tenant, k.residence, k.why) for k in found))
    else:
        output.warn("Nothing keeps any job where it is.")


@archive.command()
def run(
    job_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Archive this job now, however young. None: all that is due.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is due.")] = False,
    as_json: options.Json = False,
) -> None:
    """Archive what is due by the policy (retention.yaml), as the DAG tradu_archive does every day.

    A run that was stopped at any point is finished by the next one. Jobs that are open stay, and those that something
    keeps (`tradu archive list --kept`).

    \b
    Examples:
      tradu archive run --dry-run
      tradu archive run
      tradu archive run 0a9f8e

    Exit codes: 0 well, 1 a job could not be archived (`tradu incidents` says why).
    """
    from tradu.archival import run as archiving
    from tradu.archival.policy import load_policy
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.settings import get_settings

    settings = get_settings()
    output, ledger, policy, done = Output(as_json), open_ledger(settings), load_policy(settings), archiving.Done()
    if job_id:
        wanted = find_job(ledger, job_id)
        if not (found := archiving.asked(ledger, wanted.job_id)):
            raise RequestError(f"job {wanted.job_id} lies in {wanted.residence} already")
    else:
        found = archiving.due_now(archiving.ARCHIVING)
    if dry_run:
        _show_due(output, found)
        return
    for number, one in enumerate(archiving.carry_out_all(found, policy, me(), done), 1):
        output.warn(f"{number:,} of {len(found):,}: {one.act} {one.job_id}")
    if as_json:
        output.data(done.counts())
    else:
        output.say(
            f"{sum(done.jobs.values()) - done.jobs['left']:,} jobs; {done.freed_bytes:,} bytes less in hot, "
            f"{done.taken_bytes:,} in archives; {done.jobs['left']:,} stay where they are"
        )
    raise typer.Exit(1 if done.jobs["left"] else 0)


def _show_due(output: Output, found: list[Due]) -> None:
    if output.as_json:
        output.data(found)
    elif found:
        output.table(("job", "due", "to"), ((d.job_id, d.act, d.tier) for d in found))
    else:
        output.warn("Nothing is due.")


@archive.command()
def restore(
    job_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A job's id or a part of it.")] = None,
    document: Annotated[
        str | None, typer.Option("--document", metavar="SHA256", help="Every job that has this document.")
    ] = None,
    since: Day = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Jobs made before this day (UTC).")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait for archives that must be asked for (Glacier).")] = True,
    as_json: options.Json = False,
) -> None:
    """Bring archived jobs back to hot: the same bytes, rows and history as before.

    \b
    Examples:
      tradu archive restore 0a9f8e
      tradu archive restore --since 2026-01-01 --until 2026-02-01
      tradu archive restore --document 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 --no-wait

    Exit codes: 0 they are back, 1 some must still be waited for.
    """
    from tradu.archival.policy import load_policy
    from tradu.archival.restore import AsleepError
    from tradu.archival.run import restore_job
    from tradu.archival.select import select
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.settings import get_settings

    settings = get_settings()
    output, ledger, policy = Output(as_json), open_ledger(settings), load_policy(settings)
    wanted = find_job(ledger, job_id).job_id if job_id else None
    jobs = select(ledger, job_id=wanted, document_id=document, since=_utc(since), until=_utc(until))
    left, total, restored = list(jobs), len(jobs), list[str]()
    while left:
        asleep = []
        for one in left:
            try:
                if restore_job(one, policy):
                    restored.append(str(one))
            except AsleepError as error:
                output.warn(str(error))
                asleep.append(one)
            else:
                output.warn(f"{total - len(left) + len(restored):,} of {total:,}: {one}")
        left = asleep
        if not left or not wait:
            break
        output.warn(f"waiting for {len(left):,} archives; this can be stopped, and called again")
        time.sleep(LOOK_AGAIN_SECONDS)
    if as_json:
        output.data({"restored": restored, "waiting": left})
    else:
        output.say(f"{len(restored):,} of {total:,} jobs restored.")
    raise typer.Exit(1 if left else 0)


def _utc(day: datetime | None) -> datetime | None:
    return day.replace(tzinfo=UTC) if day else None


@archive.command()
def verify(job_id: options.JobId, as_json: options.Json = False) -> None:
    """Read the archive of a job back, every byte, and compare it with its manifest.

    \b
    Examples:
      tradu archive verify 0a9f8e

    Exit codes: 0 it is whole, 1 it is not.
    """
    from tradu.archival import catalogue, rows
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.errors import DamagedError
    from tradu.settings import get_settings
    from tradu.store import Store

    settings = get_settings()
    output, ledger, store = Output(as_json), open_ledger(settings), Store(settings.store)
    job = find_job(ledger, job_id)
    problem = None
    try:
        manifest = catalogue.entered_manifest(ledger, store, job.job_id)
        for _ in rows.whole(store, manifest):
            pass
    except (DamagedError, FileNotFoundError) as error:
        problem = str(error)
    if as_json:
        output.data({"job_id": job.job_id, "problem": problem})
    else:
        output.say(problem or f"The archive of job {job.job_id} is whole: {len(manifest.members):,} members.")
    raise typer.Exit(1 if problem else 0)


@archive.command()
def report(as_json: options.Json = False) -> None:
    """Show what lies in each tier and what it costs in a month, and what archiving saves.

    \b
    Examples:
      tradu archive report
    """
    from tradu.archival.policy import load_policy
    from tradu.archival.report import tiers
    from tradu.cli.ledger import open_ledger
    from tradu.settings import get_settings

    settings = get_settings()
    output, ledger = Output(as_json), open_ledger(settings)
    found = tiers(ledger, load_policy(settings))
    if as_json:
        output.data(found)
        return
    output.table(
        ("tier", ">jobs", ">kept", ">bytes", ">cost a month", ">would be in hot"),
        ((t.tier, t.jobs, t.kept, t.bytes, money(t.cost_month), money(t.cost_in_hot)) for t in found),
    )
    output.say(f"Archiving saves {money(sum(t.saved for t in found))} a month.")
    if count := sum(t.kept for t in found):
        output.say(f"{count:,} stay where they are, however old: `tradu archive list --kept` says why.")


for _command in (removal.purge, removal.certificates, removal.hold, removal.release):
    archive.command()(_command)
