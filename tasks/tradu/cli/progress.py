"""Shows the progress of a run on stderr: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from tradu.cli.output import Output, seconds
from tradu.cli.watch import Picture, Stage

if TYPE_CHECKING:
    from rich.table import Table

LINE_SECONDS = 10.0
"""How often a plain line says how many blocks are done."""
INFER = "infer"
_STYLES = {
    "success": "green",
    "failed": "red",
    "upstream_failed": "red",
    "running": "cyan",
    "deferred": "cyan",
}
_NAMES = {
    "deferred": "running",
    "upstream_failed": "not reached",
    "scheduled": "waiting",
    "queued": "waiting",
    "removed": "skipped",
}
_SETTLED = frozenset({"success", "failed", "skipped", "removed", "upstream_failed"})


class Display(Protocol):
    """Shows pictures as they come."""

    def show(self, pictures: Iterable[Picture]) -> Picture | None:
        """Show each picture; the last one."""
        ...


def display_for(output: Output) -> Display:
    """The display that suits stderr."""
    return Live(output) if output.stderr.is_terminal else Lines(output)


def count_text(picture: Picture) -> str:
    """Blocks done of all, the rate, and the time left."""
    b = picture.blocks
    text = f"{b.done:,} of {b.total:,} blocks"
    if b.failed:
        text += f" ({b.failed:,} not translated)"
    if picture.characters_per_second:
        text += f", {picture.characters_per_second:,.0f} characters/s"
        if picture.seconds_left:
            text += f", {seconds(picture.seconds_left)} left"
    return text


class Live:
    """A table that is drawn again each second."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def show(self, pictures: Iterable[Picture]) -> Picture | None:
        """Show each picture; the last one."""
        from rich.live import Live as RichLive

        last = None
        with RichLive(console=self._output.stderr, refresh_per_second=4) as live:
            for last in pictures:
                live.update(self._table(last))
        return last

    def _table(self, picture: Picture) -> Table:
        from rich.table import Table
        from rich.text import Text

        title = f"job {picture.job.job_id}" if picture.job else f"run {picture.run.run_id}"
        table = Table(
            box=None,
            title=title,
            title_justify="left",
            title_style="bold",
            show_header=False,
            padding=(0, 2, 0, 0),
        )
        for stage in picture.stages:
            style = _STYLES.get(stage.state, "dim")
            took = Text(seconds(stage.seconds) if stage.seconds is not None else "", justify="right")
            table.add_row(
                Text(stage.name, style),
                Text(_NAMES.get(stage.state, stage.state), style),
                took,
                _detail(stage, picture),
            )
        return table


def _detail(stage: Stage, picture: Picture) -> str:
    """What stands beside a stage: for infer, its blocks."""
    return count_text(picture) if stage.name.split(".")[-1] == INFER and picture.blocks.total else ""


class Lines:
    """A line when a stage ends, and one now and then while blocks are translated."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._told: set[str] = set()
        self._spoke_at = time.monotonic()

    def show(self, pictures: Iterable[Picture]) -> Picture | None:
        """Show each picture; the last one."""
        last = None
        for last in pictures:
            for line in self.lines(last, time.monotonic()):
                self._output.warn(line)
        return last

    def lines(self, picture: Picture, now_seconds: float) -> Iterator[str]:
        """What is new in a picture, line by line."""
        if picture.job and "" not in self._told:
            self._told.add("")
            yield f"job {picture.job.job_id}"
        for stage in picture.stages:
            detail = _detail(stage, picture)
            if stage.state in _SETTLED and stage.name not in self._told:
                self._told.add(stage.name)
                self._spoke_at = now_seconds
                took = f", {seconds(stage.seconds)}" if stage.seconds is not None else ""
                yield f"{stage.name}: {_NAMES.get(stage.state, stage.state)}{took}{', ' + detail if detail else ''}"
            elif stage.state in ("running", "deferred") and detail and now_seconds - self._spoke_at >= LINE_SECONDS:
                self._spoke_at = now_seconds
                yield f"{stage.name}: {detail}"
