"""`tradu quarantine`: what the line could not translate, and a person's decision about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from tradu.cli import options
from tradu.cli.output import Output
from tradu.cli.person import me
from tradu.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tradu.ledger.connection import Ledger
    from tradu.ledger.rows import Job

    _Act = Callable[[Ledger, Job, Sequence[UUID]], int]

HELP = """Look at what was quarantined, and decide.

\b
Examples:
  tradu quarantine list
  tradu quarantine retry 0a9f8e
"""
quarantine = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)
Blocks = Annotated[
    list[str] | None, typer.Argument(metavar="[BLOCK]...", help="Ids of blocks. None: all of the job in quarantine.")
]


@quarantine.command("list")
def list_(
    job_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A job's id or a part of it. None: all.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many.")] = 50,
    offset: Annotated[int, typer.Option("--offset", min=0, help="How many to leave out first.")] = 0,
    as_json: options.Json = False,
) -> None:
    """List quarantined blocks and documents that nobody has decided on, the newest first.

    \b
    Examples:
      tradu quarantine list
      tradu quarantine list 0a9f8e --json
    """
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.ledger.rows import DeadLetter
    from tradu.settings import get_settings

    output, ledger = Output(as_json), open_ledger(get_settings())
    wanted = find_job(ledger, job_id).job_id if job_id else None
    with ledger.transaction() as tx:
        found = tx.rows("dead_letters", DeadLetter, job_id=wanted, limit=limit, offset=offset)
    if as_json:
        output.data(found)
        return
    if not found:
        output.warn("Nothing is in quarantine.")
        return
    headings = ("at (UTC)", "document", "to", ">block", "class", "reason", "id")
    rows = (
        (f"{f.at:%Y-%m-%d %H:%M:%S}", f.path or "", f.target or "", f.number, f.error_class, f.reason, f.entity_id)
        for f in found
    )
    output.table(headings, rows)
    if len(found) == limit:
        output.warn(f"There may be more: --offset {offset + limit}")


@quarantine.command()
def show(
    block_id: Annotated[str, typer.Argument(metavar="BLOCK", help="A block's id.")], as_json: options.Json = False
) -> None:
    """Show a quarantined block: why, every attempt's cause, its source and its last translation.

    \b
    Examples:
      tradu quarantine show 01a20c42-db0e-8853-a027-47392d23d521
    """
    from tradu.assembly.read import texts_of
    from tradu.cli.ledger import open_ledger
    from tradu.cli.trace import find_block
    from tradu.ledger.rows import Letter
    from tradu.settings import get_settings
    from tradu.store import Store

    settings = get_settings()
    output, ledger = Output(as_json), open_ledger(settings)
    block = find_block(ledger, block_id)
    with ledger.transaction() as tx:
        letters = tx.rows("letters_of", Letter, job_id=block.job_id, entity_id=str(block.block_id))
    texts = texts_of(ledger, Store(settings.store), block)
    if as_json:
        output.data({"block": block, "letters": letters, "segments": texts})
        return
    output.say(f"Block {block.number} of {block.path} to {block.target}: {block.state}, {block.reason or 'no reason'}")
    output.say(f"  job {block.job_id}, {block.attempt} attempts, models {', '.join(block.models or ()) or '-'}")
    for letter in letters:
        decided = f"; {letter.decision} by {letter.decided_by}" if letter.decision else ""
        output.say(f"  {letter.at:%Y-%m-%d %H:%M:%S} UTC {letter.error_class}: {letter.reason}{decided}")
    output.table(("source", "last translation"), ((t.source, t.translation) for t in texts))
    output.warn(
        f"tradu quarantine retry {block.job_id} {block.block_id}     try it again\n"
        f"tradu quarantine release {block.job_id} {block.block_id}   let it stand as it is"
    )


@quarantine.command()
def retry(
    job_id: options.JobId,
    blocks: Blocks = None,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="NAME", help="Translate them with this profile.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Try quarantined blocks of a job again, with a new budget, and deliver the job anew.

    \b
    Examples:
      tradu quarantine retry 0a9f8e
      tradu quarantine retry 0a9f8e 01a20c42-db0e-8853-a027-47392d23d521 --profile premium
    """
    from tradu.inference.registry import load_registry
    from tradu.ledger import decisions
    from tradu.settings import get_settings

    if profile is not None:
        load_registry(get_settings()).profile(profile)
    _decide(job_id, blocks, as_json, lambda ledger, job, ids: decisions.retry(ledger, job, ids, me(), profile))


@quarantine.command()
def release(job_id: options.JobId, blocks: Blocks = None, as_json: options.Json = False) -> None:
    """Let quarantined blocks stand: with their last translation, or with their source; and deliver the job anew.

    \b
    Examples:
      tradu quarantine release 0a9f8e 01a20c42-db0e-8853-a027-47392d23d521
    """
    from tradu.ledger import decisions

    _decide(job_id, blocks, as_json, lambda ledger, job, ids: decisions.release(ledger, job, ids, me()))


def _decide(job_id: str, blocks: list[str] | None, as_json: bool, act: _Act) -> None:
    from tradu.cli.again import new_run
    from tradu.cli.airflow import connect
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.settings import get_settings

    settings = get_settings()
    output, ledger, client = Output(as_json), open_ledger(settings), connect(settings)
    job = find_job(ledger, job_id)
    count = act(ledger, job, _ids(ledger, job, blocks))
    run_id = new_run(client, job) if count else None
    if as_json:
        output.data({"job_id": job.job_id, "blocks": count, "run_id": run_id})
    elif run_id is None:
        output.warn("None of these blocks is in quarantine: `tradu quarantine list` shows those that are.")
    else:
        output.say(f"{count:,} blocks; run {run_id} goes on with job {job.job_id}.\n  tradu job {job.job_id}")
    raise typer.Exit(0 if count else 1)


def _ids(ledger: Ledger, job: Job, blocks: list[str] | None) -> Sequence[UUID]:
    if not blocks:
        with ledger.transaction() as tx:
            return [b for (b,) in tx.tuples("quarantined_blocks", job_id=job.job_id)]
    try:
        return [UUID(block) for block in blocks]
    except ValueError as error:
        raise RequestError(f"{error}: `tradu quarantine list {job.job_id}` prints ids of blocks") from None
