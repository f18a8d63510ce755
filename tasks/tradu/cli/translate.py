"""`tradu translate`: uploads documents, has them translated, and shows how far that is."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tradu.cli import options
from tradu.cli.output import Output


def translate(
    paths: options.Paths,
    to: options.Targets,
    source: options.Source = "auto",
    profile: options.Profile = "balanced",
    out: options.OutDir = None,
    wait: Annotated[
        bool | None,
        typer.Option("--wait/--no-wait", help="Wait for the result. Unset: yes on a terminal, or with --out."),
    ] = None,
    columns: options.Columns = None,
    fields: options.Fields = None,
    encoding: options.Encoding = None,
    tenant: Annotated[str, typer.Option("--tenant", metavar="NAME", help="On whose behalf.")] = "default",
    region: Annotated[str, typer.Option("--region", metavar="NAME", help="Where the work is done.")] = "default",
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", metavar="COST", help="What it may cost. When it is spent, nothing climbs any more."),
    ] = None,
    priority: Annotated[
        int, typer.Option("--priority", min=0, max=10, help="Where jobs have to wait, the highest is let in first.")
    ] = 5,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY", help="Names the request. Unset: made from what is asked for."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="A new job, even where the same was asked for before.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Translate documents and folders.

    \b
    Examples:
      tradu translate report.md --to pt
      tradu translate docs/ --to pt,es --out translated/
      tradu translate *.csv --to es --columns title,body --no-wait
      tradu translate s3://bucket/landing/ --from en --to pt --json

    The same request asked for again finds its job: what is done is not done again, what failed is tried again.

    Exit codes: 0 all is translated, or, without waiting, its run was started; 1 something is not translated
    (PARTIAL, ERROR, CANCELED), 2 the request is refused, 3 the stack can't be reached.
    """
    from tradu.cli import follow
    from tradu.cli.airflow import connect
    from tradu.cli.ledger import open_ledger
    from tradu.cli.watch import DAG
    from tradu.settings import get_settings

    output, settings = Output(as_json), get_settings()
    asked = options.listed
    wishes = follow.Wishes(
        asked(to) or (), source, profile, tenant, region, asked(columns), asked(fields), encoding,
        key, force, max_cost, priority,
    )  # fmt: skip
    client = connect(settings)
    ledger = open_ledger(settings)
    request = follow.prepare(paths, wishes, settings, output)
    run_id = follow.start(client, ledger, request, output)
    if not (wait if wait is not None else out is not None or sys.stdout.isatty()):
        _say_started(output, request.idempotency_key, run_id, client.run_url(DAG, run_id))
        return
    report = follow.finish(client, ledger, request, run_id, output)
    raise typer.Exit(follow.conclude(report, output, settings, out))


def _say_started(output: Output, key: str, run_id: str, url: str) -> None:
    if output.as_json:
        output.data({"run_id": run_id, "idempotency_key": key, "url": url})
    else:
        output.say(f"Started: {url}\n`tradu jobs` lists its job; the same command with --wait waits for it.")
