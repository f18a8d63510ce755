"""`tradu demo`: translates the sample documents and shows what came of it."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING

import typer

from tradu.cli import options
from tradu.cli.output import Output, printable
from tradu.errors import RequestError, SystemicError

if TYPE_CHECKING:
    from tradu.cli.report import Report
    from tradu.settings import Settings
    from tradu.store import Store

TARGETS = ("pt", "es")
PROFILE = "balanced"
EXCERPT_LINES = 3
EXCERPT_CHARS = 160
EXCERPT_BYTES = 64 * 1024


def demo(as_json: options.Json = False) -> None:
    """Translate the sample documents, on a stack that is up.

    \b
    Examples:
      make demo
      tradu up && tradu demo

    A second time it shows the same job again. Exit codes are those of `tradu translate`.
    """
    from tradu.cli import follow
    from tradu.cli.airflow import connect
    from tradu.cli.ledger import open_ledger
    from tradu.settings import get_settings

    output, settings = Output(as_json), get_settings()
    samples = settings.include / "samples"
    if not samples.is_dir():
        raise SystemicError(f"{samples} is missing: TRADU_INCLUDE must be the include folder of Tradu")
    client = connect(settings)
    ledger = open_ledger(settings)
    wishes = follow.Wishes(targets=_targets(settings, output), profile=PROFILE)
    request = follow.prepare([str(samples)], wishes, settings, output)
    run_id = follow.start(client, ledger, request, output)
    report = follow.finish(client, ledger, request, run_id, output)
    code = follow.conclude(report, output, settings)
    if report is not None and not as_json:
        _show_excerpts(report, settings, output)
        _show_next(report, settings, output)
    raise typer.Exit(code)


def _targets(settings: Settings, output: Output) -> tuple[str, ...]:
    """The languages this machine has models for; a missing one is said, with what adds it."""
    from tradu.inference.registry import load_registry

    registry, found = load_registry(settings), []
    for target in TARGETS:
        try:
            registry.routes("en", target, PROFILE)
        except RequestError as error:
            output.warn(f"Left out: {error}")
        else:
            found.append(target)
    if not found:
        raise SystemicError("there is no translation engine: `tradu models` says how to add one")
    return tuple(found)


def _show_excerpts(report: Report, settings: Settings, output: Output) -> None:
    """The first lines of each translation that differ from the source."""
    from tradu import layout
    from tradu.store import Store

    store = Store(settings.store)
    for translated in report.outputs:
        key = layout.output_key(report.job.job_id, translated.target, translated.paths[0])
        if translated.refused or not store.exists(key):
            continue
        source_key = f"raw/{translated.document_id[:2]}/{translated.document_id}"
        before = set(_lines(store, source_key))
        new = (line for line in _lines(store, key) if line.strip() and line not in before)
        lines = list(islice(new, EXCERPT_LINES))
        output.say(f"\n{store.uri_of(key)}")
        for line in lines or ["(as the source: it is in this language already)"]:
            text = line.strip()
            output.say(f"  | {printable(text if len(text) <= EXCERPT_CHARS else text[:EXCERPT_CHARS] + '…')}")


def _lines(store: Store, key: str) -> list[str]:
    with store.reading(key) as stream:
        return stream.read(EXCERPT_BYTES).decode("utf-8", "replace").splitlines()


def _show_next(report: Report, settings: Settings, output: Output) -> None:
    from tradu.stack.airflow_config import api_password
    from tradu.stack.layout import Layout

    password = f"password {api_password(Layout(settings))}"
    if settings.api_password is not None:
        password = "the password in TRADU_API_PASSWORD"  # noqa: S105 - a sentence, not a password
    elif not sys.stdout.isatty():  # it would stay in somebody's log
        password = f"password: the line in {settings.home / 'secrets' / 'api-password'}"
    output.say(
        f"\nAirflow's pages: {settings.api_url}\n  sign in as {settings.api_user}, {password}\n"
        "\nNext:\n"
        "  tradu translate PATH --to pt --out translated/    your own documents\n"
        "  tradu estimate PATH --to pt                       time and cost before you ask\n"
        f"  tradu blocks {report.job.job_id}  every block of this job\n"
        "  tradu models                                      languages, and how to add one\n"
        "  tradu status                                      what runs; `tradu down` stops it"
    )
