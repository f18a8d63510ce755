"""The commands of the local stack: `tradu setup`, `up`, `down`, `status`, `doctor`, `clean`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tradu.errors import TraduError
from tradu.settings import get_settings

_stdout, _stderr = Console(), Console(stderr=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to stdout, and nothing else there.")]
_COLOURS = {"ok": "green", "warn": "yellow", "error": "red"}


@contextmanager
def _plain_errors() -> Iterator[None]:
    """A known error is one line on stderr and exit code 1, without a traceback."""
    try:
        yield
    except TraduError as error:
        _stderr.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


def _dump(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=str))


def setup() -> None:
    """Install the translation engines that are not Python packages, and compile the neural kernel. Safe to repeat.

    Example: tradu setup
    """
    from tradu.stack.apertium import install_apertium
    from tradu.stack.kernel import build_kernel

    with _plain_errors(), _stderr.status("installing translation engines"):
        report = [build_kernel(), *install_apertium(get_settings().home.absolute())]
    _stderr.print("\n".join(report), highlight=False, markup=False, soft_wrap=True)


def up(as_json: AsJson = False) -> None:
    """Start PostgreSQL, Airflow and Dask on this machine, and wait until they are healthy. Safe to repeat.

    Example: tradu up && tradu status
    """
    from tradu.stack.lifecycle import up as start

    settings = get_settings()
    with _plain_errors():
        seconds = start(settings, lambda step: _stderr.print(f"  {step}", style="dim", highlight=False))
    if as_json:
        _dump(seconds)
        return
    table = Table("step", "seconds", box=None)
    for step, value in seconds.items():
        table.add_row(step, f"{value:.1f}")
    _stderr.print(table)
    _say_where()


def _say_where() -> None:
    from tradu.stack.airflow_config import api_password
    from tradu.stack.layout import Layout

    layout = Layout(get_settings())
    _stderr.print(
        f"The UI is at {layout.settings.api_url}: sign in as {layout.settings.api_user} with {api_password(layout)}\n"
        f"Logs are in {layout.logs}. Next: tradu translate PATH --to pt; tradu down stops everything.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def down(as_json: AsJson = False) -> None:
    """Stop everything that `tradu up` started, and leave nothing running.

    Example: tradu down
    """
    from tradu.stack.lifecycle import down as stop

    with _plain_errors():
        orphans = stop(get_settings())
    if as_json:
        _dump({"orphans_stopped": orphans})
    else:
        _stderr.print("The stack is down." + (f" {orphans} orphans were stopped." if orphans else ""))


def status(as_json: AsJson = False) -> None:
    """Show every service: state, pid, uptime, memory, health. Exit code 3 when the stack is down, 1 when it is ill.

    Example: tradu status --json
    """
    from tradu.stack.lifecycle import status as look

    with _plain_errors():
        listed = look(get_settings())
    if as_json:
        _dump([asdict(service) for service in listed])
    else:
        _print_status([asdict(service) for service in listed])
    if not listed:
        raise typer.Exit(3)
    if any(service.is_ill for service in listed):
        raise typer.Exit(1)


def _print_status(listed: list[dict[str, Any]]) -> None:
    if not listed:
        _stderr.print("The stack is down: tradu up starts it.")
        return
    table = Table("service", "state", "pid", "up", "memory", "healthy", box=None)
    for row in listed:
        health = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "-"}[row["healthy"]]
        minutes, memory = row["uptime_seconds"] / 60, row["memory_bytes"] / 1024**2
        pid, up_for = str(row["pid"] or "-"), f"{minutes:.1f} min"
        table.add_row(row["name"], row["state"], pid, up_for, f"{memory:.0f} MiB", health)
    _stdout.print(table)
    _stdout.print(f"{sum(row['memory_bytes'] for row in listed) / 1024**2:.0f} MiB in all", highlight=False)


def doctor(as_json: AsJson = False) -> None:
    """Say what is missing, wrong or in the way on this machine, and what to do. Exit code 1 on an error.

    Example: tradu doctor
    """
    from tradu.stack.doctor import Level
    from tradu.stack.doctor import doctor as examine

    findings = examine(get_settings())
    if as_json:
        _dump([asdict(finding) for finding in findings])
    else:
        table = Table("", "what", "finding", "what to do", box=None)
        for finding in findings:
            colour = _COLOURS[finding.level]
            table.add_row(f"[{colour}]{finding.level}[/{colour}]", finding.name, finding.message, finding.remedy)
        _stdout.print(table)
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(1)


def clean(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop the stack and remove all it made on this machine: databases, store, passwords, logs, system user.

    Example: tradu clean --yes
    """
    from tradu.stack.clean import clean as remove

    settings = get_settings()
    if not yes:
        typer.confirm(f"Remove {settings.home} with every translation, database and password in it?", abort=True)
    with _plain_errors():
        removed = remove(settings)
    if as_json:
        _dump({"removed": removed})
    else:
        said = "\n".join(f"removed {path}" for path in removed) or "There was nothing to remove."
        _stderr.print(said, highlight=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the stack's commands to the command line."""
    for command in (setup, up, down, status, doctor, clean):
        app.command()(command)


if __name__ == "__main__":
    alone = typer.Typer(no_args_is_help=True, add_completion=False)
    register(alone)
    alone()
