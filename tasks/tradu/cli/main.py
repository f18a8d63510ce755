"""The entry point of the command line: every command under `tradu`."""

from __future__ import annotations

from typing import Annotated

import typer

from tradu import cli
from tradu.cli.archive import archive
from tradu.cli.care import decide, incidents, ledger, resume, verify
from tradu.cli.demo import demo
from tradu.cli.estimate import estimate
from tradu.cli.failures import Commands
from tradu.cli.jobs import blocks, cancel, job, jobs
from tradu.cli.model_workers import warm, workers
from tradu.cli.models import models
from tradu.cli.quarantine import quarantine
from tradu.cli.queue import queue
from tradu.cli.rebuild import rebuild
from tradu.cli.result import result
from tradu.cli.rollout import rollout
from tradu.cli.scale import agent, controller, dask_workers, scale
from tradu.cli.stack import register
from tradu.cli.trace import trace
from tradu.cli.translate import translate

# Plain help: Rich's boxes cost as much time as everything else in --help
app = typer.Typer(
    name="tradu", cls=Commands, no_args_is_help=True, add_completion=True, rich_markup_mode=None,
    pretty_exceptions_enable=False,
)  # fmt: skip


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version(cli.__name__.partition(".")[0]))
        raise typer.Exit


@app.callback()
def tradu(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Translate large sets of documents, and see what happens to every piece.

    \b
    Examples:
      tradu up
      tradu translate docs/ --to pt,es --out translated/
      tradu estimate docs/ --to pt
      tradu job 0a9f8e

    Data goes to stdout, messages go to stderr; --json prints data for scripts. Exit codes: 0 well, 1 something was not
    translated or failed, 2 wrong usage or a request that is refused, 3 the stack can't be reached. TRADU_DEBUG=1 shows
    tracebacks.
    """


_COMMANDS = (
    translate,
    estimate,
    jobs,
    job,
    blocks,
    result,
    queue,
    trace,
    cancel,
    resume,
    decide,
    verify,
    rebuild,
    incidents,
    demo,
)
for _command in _COMMANDS:
    app.command()(_command)
for _service in (controller, agent):
    app.command()(_service)
models.command()(workers)
models.command()(warm)
app.add_typer(models, name="models")
app.add_typer(rollout, name="rollout")
app.add_typer(quarantine, name="quarantine")
app.add_typer(ledger, name="ledger")
app.add_typer(archive, name="archive")
app.add_typer(scale, name="scale")
app.add_typer(dask_workers, name="workers")
register(app)


if __name__ == "__main__":
    app()
