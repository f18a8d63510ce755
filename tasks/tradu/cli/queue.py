"""`tradu queue`: which jobs wait for their turn, in which order, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from tradu.cli import options
from tradu.cli.output import Output


def queue(
    tenant: Annotated[
        str | None,
        typer.Option(
            "--tenant", metavar="NAME", help="Say whether this tenant may ask for a job now, and if not, when."
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List the jobs that wait for their turn, the next one first, and why they wait; and the limits of claims.

    \b
    Examples:
      tradu queue
      tradu queue --tenant acme --json

    Exit codes: 0, or with --tenant 1 where a job of that tenant would be refused now.
    """
    from tradu.admission import doubts, in_order, load_policy, may_submit
    from tradu.cli.ledger import open_ledger
    from tradu.ledger import buckets, turns
    from tradu.settings import get_settings

    output, settings = Output(as_json), get_settings()
    policy = load_policy(settings)
    ledger = open_ledger(settings)
    standing = turns.standing(ledger)
    with ledger.transaction() as tx:
        limits = buckets.standing(tx)
    pressure = standing.pressure
    answer = None if tenant is None else may_submit(tenant, pressure, policy)
    waiting = in_order(pressure, policy)
    asked = {bucket.name for bucket in limits}
    unasked = {name: limit for name, limit in policy.limits().items() if name not in asked}
    if as_json:
        said = {
            "full": pressure.full,
            "reason": standing.reason,
            "running": len(pressure.running),
            "open_characters": round(pressure.open_characters),
            "waiting": waiting,
            "limits": limits,
            "limits_without_claims": unasked,
            "answer": answer,
        }
        output.data(said)
    else:
        opened = (
            f"{len(pressure.running)} of {policy.most_running} jobs run, {pressure.open_characters:,.0f} characters"
        )
        output.say(f"{opened} are open (jobs wait from {policy.high_characters:,} on)")
        if waiting:
            output.say(f"Jobs wait: {standing.reason}\n")
            rows = ((j.job_id, j.tenant, j.region, j.priority, f"{j.created_at:%Y-%m-%d %H:%M}") for j in waiting)
            output.table(("job", "tenant", "region", ">priority", "asked for"), rows)
        if limits or unasked:
            of_bucket: list[tuple[object, ...]] = [
                (b.name, b.per_minute, b.claimed, b.refused, b.wait_seconds) for b in limits
            ]
            of_bucket += [(name, limit, "no claim", "", "") for name, limit in unasked.items()]
            heads = ("limit of", ">characters a minute", ">claimed", ">times refused", ">seconds until the next claim")
            output.table(heads, of_bucket)
        for doubt in doubts(policy, settings):
            output.warn(doubt)
        if answer is not None:
            when = f"; ask again in {answer.retry_after_seconds:.0f} s" if answer.retry_after_seconds else ""
            output.say(f"A job of tenant {tenant!r}: {answer.reason}{when}")
    if answer is not None and not answer.may_submit:
        raise typer.Exit(1)
