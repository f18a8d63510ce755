"""`tradu result`: what a job has made, block by block or as documents, also while it still works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tradu.cli import options
from tradu.cli.output import Output, plain
from tradu.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tradu.assembly.pages import BlockText
    from tradu.assembly.partial import Written
    from tradu.ledger.rows import Job


def result(
    job_id: options.JobId,
    partial: Annotated[
        bool, typer.Option("--partial", help="Also what is not delivered, or not judged by the gate, yet.")
    ] = False,
    document: Annotated[
        str | None, typer.Option("--document", metavar="D", help="One document: its path, or how its SHA-256 begins.")
    ] = None,
    target: Annotated[str | None, typer.Option("--target", metavar="LANGUAGE", help="One target language.")] = None,
    block: Annotated[int | None, typer.Option("--block", metavar="N", min=0, help="One block, by its number.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Blocks of a page.")] = 20,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="PLACE", help="The page after this place, which the page before names."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Write documents to DIR/<language>/<path> instead.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show what a job has made, a page of blocks at a time; or write its documents as they stand.

    \b
    Examples:
      tradu result 0a9f8e
      tradu result 0a9f8e --document guide.md --target pt --block 17
      tradu result 0a9f8e --partial --limit 1000 --json
      tradu result 0a9f8e --partial --output so-far/

    Documents that aren't finished keep the source where there is no translation; DIR/untranslated.jsonl names each of
    these blocks. Exit codes: 0 well, 1 something was not translated (yet).
    """
    from tradu.assembly import pages
    from tradu.assembly import partial as partials
    from tradu.assembly.read import FINISHED, PARTIAL
    from tradu.cli.ledger import find_job, open_ledger
    from tradu.settings import get_settings
    from tradu.store import Store

    output, settings = Output(as_json), get_settings()
    ledger, store = open_ledger(settings), Store(settings.store)
    job = find_job(ledger, job_id)
    if target is not None and target not in job.targets:
        raise RequestError(f"job {job.job_id} is not translated into {target}, but into {', '.join(job.targets)}")
    chosen = None if document is None else pages.find_document(ledger, job, document).document_id
    states = PARTIAL if partial else FINISHED
    if folder is not None:
        written = partials.write(job, ledger, store, folder, document_id=chosen, target=target, partial=partial)
        raise typer.Exit(_show_files(written, folder, output))
    if block is None:
        place = pages.Place() if after is None else pages.Place.parse(after)
        found = pages.page(ledger, job, place, limit, document_id=chosen, target=target)
    elif chosen is None or (target is None and len(job.targets) > 1):
        raise RequestError("--block wants --document, and --target where there are several")
    else:
        found = [pages.one(ledger, job, chosen, target or job.targets[0], block)]
    shown = list(pages.texts(store, found, states))
    more = str(shown[-1].place) if block is None and len(shown) == limit else None
    raise typer.Exit(_show_blocks(shown, more, job, output))


def _show_blocks(shown: list[BlockText], more: str | None, job: Job, output: Output) -> int:
    if output.as_json:
        output.data({"job_id": job.job_id, "blocks": [_as_data(one) for one in shown], "next": more})
    else:
        rows = (
            (b.block.path, b.block.target, b.block.number, b.block.state, s.source, s.translation)
            for b in shown
            for s in b.segments
        )
        output.table(("document", "to", ">block", "state", "source", "translation"), rows)
        if more:
            output.warn(f"There may be more: --after {more}")
    return int(any(s.translation is None for b in shown for s in b.segments))


def _as_data(one: BlockText) -> dict[str, Any]:
    hidden = {"result", "part", "row_group"}
    return {k: v for k, v in plain(one.block).items() if k not in hidden} | {"segments": plain(one.segments)}


def _show_files(written: Iterable[Written], folder: Path, output: Output) -> int:
    files = list(written)
    if output.as_json:
        output.data({"folder": folder, "files": files})
    else:
        output.table(
            ("file", ">segments", ">translated", ">not judged yet"),
            ((f.file, *(("whole", "", "") if f.delivered else (f.segments, f.translated, f.unjudged))) for f in files),
        )
    if not files:
        output.warn("Nothing is finished yet: --partial writes documents as they stand, once they are cut into blocks")
    return int(not files or any(not f.delivered and f.translated < f.segments for f in files))
