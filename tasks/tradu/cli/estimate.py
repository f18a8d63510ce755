"""`tradu estimate`: what documents would take and cost, before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from tradu.cli import options
from tradu.cli.failures import UNFINISHED
from tradu.cli.output import Output, money, plain, printable, seconds

if TYPE_CHECKING:
    from tradu.estimate import Estimate, PairEstimate


def estimate(
    paths: options.Paths,
    to: options.Targets,
    source: options.Source = "auto",
    profile: options.Profile = "balanced",
    columns: options.Columns = None,
    fields: options.Fields = None,
    encoding: options.Encoding = None,
    as_json: options.Json = False,
) -> None:
    """Say what documents would take and cost, without translating them.

    \b
    Examples:
      tradu estimate docs/ --to pt
      tradu estimate products.csv --to pt,es --columns title,body
      tradu estimate docs/ --from en --to pt --profile economy --json

    It needs no running stack. Exit codes: 0 all can be translated, 1 something could not be, 2 the request is wrong.
    """
    from tradu import estimate as estimates
    from tradu.cli.uploads import find_files
    from tradu.documents.model import FormatOptions
    from tradu.inference.registry import load_registry
    from tradu.ledger.jobs import JobRequest
    from tradu.settings import get_settings
    from tradu.stack.host import this_host

    output, settings = Output(as_json), get_settings()
    targets = options.listed(to) or ()
    JobRequest(documents=paths, targets=targets, source=source, idempotency_key="estimate").check()
    found = estimates.estimate(
        ((f.file, f.path) for f in find_files(paths)),
        targets,
        source,
        profile,
        FormatOptions(options.listed(columns), options.listed(fields), encoding),
        registry=load_registry(settings),
        settings=settings,
        workers=settings.workers or this_host().cores,
    )
    if as_json:
        output.data(_as_data(found))
    else:
        _show(found, output)
    raise typer.Exit(UNFINISHED if found.problems else 0)


def _as_data(found: Estimate) -> dict[str, object]:
    totals = {"cpu_seconds": found.cpu_seconds, "seconds": found.seconds, "cost": found.cost}
    return {**plain(found), **totals, "problems": list(found.problems)}


def _rows(pair: PairEstimate) -> Iterator[tuple[object, ...]]:
    """A pair's lowest tier, and what is expected to climb to higher ones."""
    sizes = pair.documents, pair.blocks, pair.segments, pair.characters
    if not pair.rungs:
        models = "none" if pair.problem else "same language"
        yield pair.source, pair.target, pair.tier, models, *sizes, seconds(pair.cpu_seconds), money(pair.cost)
    for place, rung in enumerate(pair.rungs):
        own = sizes if place == 0 else (None, None, None, rung.characters)
        yield pair.source, pair.target, rung.tier, rung.models, *own, seconds(rung.cpu_seconds), money(rung.cost)


def _show(found: Estimate, output: Output) -> None:
    headings = (
        "from",
        "to",
        "tier",
        "models",
        ">documents",
        ">blocks",
        ">segments",
        ">characters",
        ">CPU time",
        ">cost",
    )
    output.table(
        headings,
        (row for pair in found.pairs for row in _rows(pair)),
    )
    for why in dict.fromkeys(why for pair in found.pairs for why in pair.left_out):
        output.say(f"Left out: {why}")
    output.say(
        f"\nAbout {seconds(found.seconds)} with {found.workers} workers, beside the start of the stages; "
        f"cost {money(found.cost)}"
    )
    for problem in found.problems:
        output.say(f"Would not be translated: {printable(problem)}")
