"""`tradu rollout`: a new model takes blocks of an old one step by step, and is promoted or rolled back by itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tradu.cli import options
from tradu.cli.output import Output
from tradu.cli.person import me
from tradu.errors import RequestError
from tradu.rollouts.decision import Limits

if TYPE_CHECKING:
    from tradu.ledger.connection import Ledger
    from tradu.ledger.rollouts import Rollout

HELP = """Let a new model take a growing share of an old one's blocks.

\b
Examples:
  tradu rollout start firefox-en-pt-next
  tradu rollout status 3
"""
rollout = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)
Id = Annotated[int, typer.Argument(metavar="ID", help="A rollout's number.")]
USUAL = Limits()


@rollout.command()
def start(
    candidate: Annotated[str, typer.Argument(metavar="MODEL", help="A model with candidate_for in models.yaml.")],
    shares: Annotated[str, typer.Option("--steps", help="Shares of the blocks, per cent, up to 100.")] = "1,10,50,100",
    sample: Annotated[
        int, typer.Option("--sample", min=1, help="Blocks of each side in a step before it goes on.")
    ] = USUAL.sample,
    failures: Annotated[
        float, typer.Option("--failures", min=0, max=1, help="Share of failing blocks beyond the old model's.")
    ] = USUAL.failures,
    score_loss: Annotated[
        float, typer.Option("--score-loss", min=0, max=1, help="How much lower its mean score may be.")
    ] = USUAL.score_loss,
    slowdown: Annotated[
        float, typer.Option("--slowdown", min=0, help="How many times the old model's seconds a character it may take.")
    ] = USUAL.slowdown,
    cost_ratio: Annotated[
        float, typer.Option("--cost-ratio", min=0, help="How many times the old model's cost a character it may have.")
    ] = USUAL.cost_ratio,
    as_json: options.Json = False,
) -> None:
    """Start: the candidate takes the first share of the blocks of the model that it is for.

    \b
    Examples:
      tradu rollout start firefox-en-pt-next
      tradu rollout start firefox-en-pt-next --steps 5,25,100 --sample 200
    """
    from tradu.cli.ledger import open_ledger
    from tradu.inference.registry import load_registry
    from tradu.rollouts import steps
    from tradu.settings import get_settings

    settings = get_settings()
    output, ledger = Output(as_json), open_ledger(settings)
    limits = Limits(sample, failures, score_loss, slowdown, cost_ratio)
    _show(output, ledger, steps.start(ledger, load_registry(settings), candidate, _shares(shares), limits))


@rollout.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many.")] = 20, as_json: options.Json = False
) -> None:
    """List rollouts, the newest first.

    \b
    Examples:
      tradu rollout list
    """
    from tradu.cli.ledger import open_ledger
    from tradu.ledger.rollouts import Rollout
    from tradu.settings import get_settings

    output, ledger = Output(as_json), open_ledger(get_settings())
    with ledger.transaction() as tx:
        found = tx.rows("rollouts", Rollout, limit=limit)
    if as_json:
        output.data(found)
        return
    if not found:
        output.warn("There is no rollout.")
        return
    output.table(
        (">id", "candidate", "for", "state", ">share", "since (UTC)", "reason"),
        (
            (r.rollout_id, r.candidate, r.incumbent, r.state, f"{r.share:.0%}", f"{r.step_at:%Y-%m-%d %H:%M}", r.reason)
            for r in found
        ),
    )


@rollout.command()
def status(rollout_id: Id, as_json: options.Json = False) -> None:
    """Show what was seen of both sides, what that means, and what was decided.

    \b
    Examples:
      tradu rollout status 3
    """
    from tradu.cli.ledger import open_ledger
    from tradu.rollouts import steps
    from tradu.settings import get_settings

    output, ledger = Output(as_json), open_ledger(get_settings())
    _show(output, ledger, steps.find(ledger, rollout_id))


@rollout.command()
def promote(rollout_id: Id, as_json: options.Json = False) -> None:
    """Go on with the next step now, whatever the evidence says.

    \b
    Examples:
      tradu rollout promote 3
    """
    from tradu.cli.ledger import open_ledger
    from tradu.rollouts import steps
    from tradu.settings import get_settings

    output, ledger = Output(as_json), open_ledger(get_settings())
    _show(output, ledger, steps.promote(ledger, rollout_id, me()))


@rollout.command()
def abort(rollout_id: Id, as_json: options.Json = False) -> None:
    """Give all blocks back to the old model, also after a promotion.

    \b
    Examples:
      tradu rollout abort 3
    """
    from tradu.cli.ledger import open_ledger
    from tradu.rollouts import steps
    from tradu.settings import get_settings

    output, ledger = Output(as_json), open_ledger(get_settings())
    _show(output, ledger, steps.abort(ledger, rollout_id, me()))


def _shares(asked: str) -> list[float]:
    try:
        return [float(step) / 100 for step in asked.split(",")]
    except ValueError:
        raise RequestError(f"--steps: {asked!r} is not a list of per cents such as 1,10,50,100") from None


def _show(output: Output, ledger: Ledger, found: Rollout) -> None:
    """Print a rollout with its evidence and decisions."""
    from tradu.ledger.rollouts import Decided
    from tradu.rollouts import steps

    with ledger.transaction() as tx:
        said, seen = steps.judge(tx, found)
        taken = tx.rows("rollout_decisions", Decided, rollout_id=found.rollout_id)
    if output.as_json:
        data: dict[str, Any] = {"rollout": found, "share": found.share, "evidence": seen, "decisions": taken}
        output.data(data | ({"now": asdict(said)} if found.state == "RUNNING" else {}))
        return
    shares = ", ".join(f"{share:.4g} %" for share in (100 * s for s in found.shares))
    output.say(f"Rollout {found.rollout_id}: {found.candidate} for {found.incumbent}, {found.state}")
    output.say(
        f"  share {found.share:.4g}, step {found.step + 1} of {len(found.shares)} ({shares}); {found.reason or ''}"
    )
    output.table(
        ("side", ">blocks", ">failed", ">segments", ">characters", ">score", ">s/M chars", "faults"),
        (
            (
                side,
                e.blocks,
                e.failed,
                e.segments,
                e.characters,
                e.score_sum / e.blocks if e.blocks else None,
                e.seconds / e.timed * 1e6 if e.timed else None,
                ", ".join(f"{name} {count}" for name, count in sorted(e.failures.items())),
            )
            for side, e in seen.items()
        ),
    )
    if found.state == "RUNNING":
        output.say(f"Now: {said.result}, {said.rule}")
    for each in taken:
        output.say(f"{each.at:%Y-%m-%d %H:%M:%S} step {each.step + 1}: {each.result}, {each.rule}")
