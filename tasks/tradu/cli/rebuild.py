"""`tradu rebuild`: the ledger's rows of delivered jobs, from what lies beside their output."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from tradu.cli import options
from tradu.cli.output import Output
from tradu.errors import DataError, RequestError


def rebuild(
    job_ids: Annotated[
        list[str] | None, typer.Argument(metavar="JOB...", help="Whole ids of jobs: the ledger can't complete them.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every job that has a manifest in the store.")] = False,
    as_json: options.Json = False,
) -> None:
    """Rebuild the ledger's rows of delivered jobs from the store alone, after the ledger was lost.

    \b
    Examples:
      tradu ledger accept
      tradu rebuild 019a7c2e-5b1d-7c3a-9f00-3d2c1b0a9f8e
      tradu rebuild --all

    A job is as it was when it was last delivered. What the ledger has stays; a second time changes nothing.

    Exit codes: 0 well, 1 a job could not be rebuilt.
    """
    from tradu.cli.ledger import open_ledger
    from tradu.rebuild import delivered
    from tradu.rebuild import rebuild as rebuild_one
    from tradu.settings import get_settings
    from tradu.store import Store

    output, settings = Output(as_json), get_settings()
    ledger, store = open_ledger(settings), Store(settings.store)
    if bool(job_ids) == every:
        raise RequestError("name jobs, or say --all")
    asked = sorted(delivered(store)) if every else [_id(text) for text in job_ids or ()]
    added: dict[str, int] = {}
    failed: dict[str, str] = {}
    for job_id in asked:
        try:
            added[str(job_id)] = sum(rebuild_one(job_id, ledger, store).values())
        except (DataError, RequestError) as error:
            failed[str(job_id)] = str(error)
            output.warn(f"{job_id}: {error}")
        else:
            output.say(f"{job_id}: {added[str(job_id)]:,} rows were missing")
    if as_json:
        output.data({"rows_added": added, "failed": failed})
    raise typer.Exit(int(bool(failed)))


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise RequestError(
            f"{text!r} is not a whole job's id: it is the name of a folder in output/ of the store"
        ) from None
