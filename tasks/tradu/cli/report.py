"""What became of a job: what was translated, by which models, at what cost; what was not, and why; where it lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tradu import layout
from tradu.cli.decisions import said_of
from tradu.cli.failures import UNFINISHED, WELL
from tradu.cli.output import Output, money, printable, seconds, shown
from tradu.ledger.connection import Ledger
from tradu.ledger.rollouts import InRollout
from tradu.ledger.rows import Document, ErrorCount, Job, LanguageCount, Progress, Spending, Total
from tradu.ledger.rows import Output as Translated
from tradu.ledger.states import DocumentState, JobState
from tradu.store import Store

FAILED = frozenset({JobState.PARTIAL, JobState.ERROR, JobState.CANCELED})
SHOWN = 20
"""Most lines of a list that is printed for people; JSON has all of them."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the ledger knows of a job that people ask for."""

    job: Job
    documents: Sequence[Document]
    outputs: Sequence[Translated]
    progress: Sequence[Progress]
    totals: Sequence[Total]
    errors: Sequence[ErrorCount]
    spending: Sequence[Spending]
    rollouts: Sequence[InRollout] = ()
    languages: Sequence[LanguageCount] = ()

    @property
    def cost(self) -> float:
        """True cost so far."""
        return float(sum(t.cost or 0 for t in self.totals))

    @property
    def wall_seconds(self) -> float | None:
        """From the job's first start to its end; None while it runs."""
        if self.job.started_at is None or self.job.finished_at is None:
            return None
        return (self.job.finished_at - self.job.started_at).total_seconds()

    @property
    def exit_code(self) -> int:
        """0 while it runs or when it is COMPLETED, 1 when something is left undone."""
        return UNFINISHED if self.job.state in FAILED else WELL


def load(ledger: Ledger, job: Job) -> Report:
    """Read the report of a job as it is now."""
    with ledger.transaction() as tx:
        key = {"job_id": job.job_id}
        return Report(
            tx.rows("job", Job, **key)[0],
            tx.rows("documents", Document, **key),
            tx.rows("outputs", Translated, **key),
            tx.rows("progress", Progress, **key),
            tx.rows("totals", Total, **key),
            tx.rows("errors", ErrorCount, **key),
            tx.rows("spending", Spending, **key),
            tx.rows("rollouts_of_job", InRollout, **key),
            tx.rows("languages", LanguageCount, **key),
        )


def as_data(report: Report, store_uri: str) -> dict[str, Any]:
    """The report for scripts."""
    return {
        "job": report.job,
        "wall_seconds": report.wall_seconds,
        "cost": report.cost,
        "cost_estimate": report.job.cost_estimate,
        "output": output_place(report.job, store_uri),
        "blocks": report.progress,
        "totals": report.totals,
        "errors": report.errors,
        "spending": report.spending,
        "rollouts": report.rollouts,
        "languages": report.languages,
        "documents": report.documents,
        "outputs": [_output_row(o, report.job, store_uri) for o in report.outputs],
    }


def _output_row(output: Translated, job: Job, store_uri: str) -> dict[str, Any]:
    places = [f"{store_uri}/{layout.output_key(job.job_id, output.target, path)}" for path in output.paths]
    names = (
        "document_id",
        "target",
        "size_bytes",
        "sha256",
        "segments",
        "translated",
        "untranslated",
        "refused",
    )
    return {name: getattr(output, name) for name in names} | {"places": [] if output.refused else places}


def output_place(job: Job, store_uri: str) -> str:
    """URI of the folder that holds the job's output."""
    return f"{store_uri}/output/{job.job_id}"


def show(report: Report, output: Output, store_uri: str) -> None:
    """Print the report for people."""
    _show_head(report, output)
    _show_totals(report, output)
    _show_undone(report, output)
    if report.outputs and report.job.state in (JobState.COMPLETED, JobState.PARTIAL):
        output.say(f"\nOutput: {output_place(report.job, store_uri)}")
    if report.job.state in (JobState.PARTIAL, JobState.ERROR):
        output.say("Run the same command again to redo what failed; what is done stays.")
        output.say(f"Every block: tradu blocks {report.job.job_id} --state ERROR")


def _show_head(report: Report, output: Output) -> None:
    job = report.job
    took = f" in {seconds(report.wall_seconds)}" if report.wall_seconds is not None else ""
    output.say(f"Job {job.job_id}: {job.state}{took}")
    if job.reason:
        output.say(f"  {printable(job.reason)}")
    if job.stopped_by:
        output.warn(
            f"The gate on {job.stopped_by} has stopped it: decide under Required actions in the Airflow UI, or by\n"
            f"  tradu decide {job.job_id} accept|retry|drop"
        )
    if job.dropped_at:
        output.say(f"  dropped {job.dropped_at:%Y-%m-%d %H:%M} UTC: no night takes it up again, `tradu resume` does")
    counts = ", ".join(f"{p.blocks:,} {p.state}" for p in report.progress) or "none yet"
    output.say(f"  {job.source} -> {', '.join(job.targets)}, profile {job.profile}")
    output.say(f"  {len(report.documents):,} documents; blocks: {counts}")
    if planned := said_of(job):
        output.say(f"  {planned}")
    if job.source == "auto" and report.languages:
        found = "; ".join(
            f"{each.blocks:,} {'already in' if each.passed else f'from {each.source} to'} {each.target}"
            for each in report.languages
        )
        output.say(f"  languages: {found}")


def _show_totals(report: Report, output: Output) -> None:
    if report.totals:
        headings = (
            ">to",
            "tier",
            "models",
            ">blocks",
            ">segments",
            ">characters",
            ">score",
            ">seconds",
            ">cost",
        )
        rows = (
            (
                t.target,
                t.tier,
                t.models,
                t.blocks,
                int(t.segments),
                int(t.characters),
                t.score,
                float(t.seconds or 0),
                money(t.cost),
            )
            for t in report.totals
        )
        output.say("")
        output.table(headings, rows)
    if len({s.tier for s in report.spending}) > 1:
        output.say("")
        output.table(
            ("tier", "models", ">texts tried", ">characters", ">climbed to it", ">stayed", ">seconds", ">cost"),
            (
                (s.tier, s.models, s.texts, s.characters, s.climbed, s.stayed, s.seconds, money(s.cost))
                for s in report.spending
            ),
        )
    budget = "" if report.job.max_cost is None else f"; it may cost {money(report.job.max_cost)}"
    output.say(f"\nCost: {money(report.cost)} (estimated before: {money(report.job.cost_estimate)}{budget})")
    if stayed := sum(s.stayed for s in report.spending):
        output.say(f"{stayed:,} segments scored low and did not climb: for want of budget or of workers")
    for each in report.rollouts:
        output.say(
            f"Rollout {each.rollout_id} ({each.state}): {each.blocks:,} blocks were made by {each.candidate}, "
            f"{each.failed:,} that failed its checks by the model before it"
        )


def _show_undone(report: Report, output: Output) -> None:
    lines = list(undone(report))
    if not lines:
        return
    output.say("\nNot translated, and why:")
    for line in lines[:SHOWN]:
        output.say(f"  {printable(line)}")
    if len(lines) > SHOWN:
        output.say(f"  and {len(lines) - SHOWN:,} more: tradu job {report.job.job_id} --json")


def undone(report: Report) -> Iterator[str]:
    """What was not translated, a line each: documents, outputs that were refused, blocks by reason, segments left."""
    bad = {DocumentState.ERROR, DocumentState.PARTIAL, DocumentState.CANCELED}
    for document in report.documents:
        why = document.reason or document.error
        if document.state in bad or why:
            yield f"{document.paths[0]}: {document.state}{f', {why}' if why else ''}"
    for translated in report.outputs:
        if translated.refused:
            yield f"{translated.paths[0]} -> {translated.target}: refused, {translated.refused}"
        elif translated.untranslated:
            left = f"{translated.untranslated:,} of {translated.segments:,} segments stay in the source language"
            yield f"{translated.paths[0]} -> {translated.target}: {left}"
    for error in report.errors:
        yield f"{error.blocks:,} blocks: {error.error_class}, {error.reason}"


def show_documents(report: Report, output: Output) -> None:
    """Print the job's documents with their states."""
    rows = (
        (
            d.paths[0],
            d.format,
            d.source,
            d.size_bytes,
            d.segments,
            d.characters,
            d.state,
            d.reason or d.error or "",
        )
        for d in report.documents[:SHOWN]
    )
    output.say("")
    output.table(("document", "format", "from", ">bytes", ">segments", ">characters", "state", "reason"), rows)
    if len(report.documents) > SHOWN:
        output.say(f"and {len(report.documents) - SHOWN:,} more: tradu job {report.job.job_id} --json")


def copy_out(report: Report, store: Store, folder: Path, on_file: Callable[[Path], None] = lambda _: None) -> int:
    """Copy the translated documents to `folder/<language>/<path>`, each appearing whole; how many."""
    copied = 0
    for output in report.outputs:
        if output.refused:
            continue
        for path in output.paths:
            key = layout.output_key(report.job.job_id, output.target, path)
            if not store.exists(key):  # a job that is not published yet
                continue
            place = folder / output.target / path
            store.copy_out(key, place)
            on_file(place)
            copied += 1
    return copied


def summary(job: Job) -> tuple[str, ...]:
    """A job as a row of a list."""
    return (
        str(job.job_id),
        job.state,
        f"{job.source} -> {', '.join(job.targets)}",
        job.profile,
        job.tenant,
        f"{job.created_at:%Y-%m-%d %H:%M}",
        shown(job.reason or ""),
    )
