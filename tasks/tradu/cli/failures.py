"""Turns errors into one line that says what to do, and an exit code."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from tradu.errors import RequestError, SystemicError, TraduError

WELL = 0
UNFINISHED = 1
"""The job is PARTIAL, in ERROR or CANCELED; or something failed that no other code names."""
REFUSED = 2
"""Wrong usage, or a request that is refused."""
UNREACHABLE = 3
"""The stack can't be reached."""
INTERRUPTED = 130
START_IT = "start the stack with `tradu up`, or see `tradu doctor`"


def explain(error: Exception) -> tuple[str, int] | None:
    """The line and the exit code for an error that people may meet; None for one that is a defect of ours."""
    if isinstance(error, TraduError):
        code = REFUSED if isinstance(error, RequestError) else UNREACHABLE
        return str(error), code if isinstance(error, RequestError | SystemicError) else UNFINISHED
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}", REFUSED
    return _explain_library(error, type(error).__module__.partition(".")[0])


def _explain_library(error: Exception, library: str) -> tuple[str, int] | None:
    """Errors of libraries, told by their module: importing them here would slow every command down."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if library == "httpx" and "HTTPError" in names:
        return f"the Airflow API can't be reached ({error}): {START_IT}", UNREACHABLE
    if library == "psycopg" and "OperationalError" in names:
        return f"the ledger can't be reached ({error}): {START_IT}", UNREACHABLE
    if library == "psycopg" and "UndefinedTable" in names:
        return "the ledger has no tables yet: `tradu up` makes them", UNREACHABLE
    if library == "psycopg" and "Error" in names:
        return f"the ledger refused: {error}", UNFINISHED
    return _explain_setting(error, names)


def _explain_setting(error: Exception, names: set[str]) -> tuple[str, int] | None:
    if "SettingsError" in names:  # its message names the field of a value that is no JSON; the cause says where
        field = re.search('field "(.+?)"', str(error))
        return f"TRADU_{field[1].upper() if field else '*'} must be JSON: {error.__cause__}", REFUSED
    if "ValidationError" in names and getattr(error, "title", "") == "Settings":
        faults = error.errors()  # type: ignore[attr-defined]
        return "; ".join(f"TRADU_{str(e['loc'][0]).upper()}: {e['msg']}" for e in faults), REFUSED
    return None


class Commands(TyperGroup):
    """A group of commands that answers errors with one line on stderr. TRADU_DEBUG=1 shows the whole traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command of the context.

        Raises:
            typer.Exit: with the exit code of the error.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.stderr.write("tradu: interrupted\n")
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            found = explain(error)
            if found is None or os.environ.get("TRADU_DEBUG"):
                raise
            message, code = found
            sys.stderr.write(f"tradu: {' '.join(message.split())}\n")
            raise typer.Exit(code) from None
