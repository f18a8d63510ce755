"""`tradu models workers` and `warm`: what the workers have loaded, and having them load more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tradu.cli import options
from tradu.cli.output import Output
from tradu.errors import RequestError

if TYPE_CHECKING:
    from tradu.cluster.placement import Host


def workers(as_json: options.Json = False) -> None:
    """Show what models each worker has loaded, in how much memory, and how often one had to be loaded.

    \b
    Examples:
      tradu models workers
    """
    from tradu.cluster import METRIC
    from tradu.cluster.scaling import scheduler
    from tradu.settings import get_settings

    output = Output(as_json)
    rows = [
        {"worker": worker["name"], **held}
        for worker in scheduler.workers(get_settings().dask_scheduler).values()
        if (held := worker.get("metrics", {}).get(METRIC)) is not None
    ]
    if as_json:
        output.data(rows)
        return
    output.table(
        ("worker", "models, the last used last", ">MB", ">of MB", ">hits", ">loads", ">s to load", ">evictions"),
        (
            (
                r["worker"],
                ", ".join(r["models"]),
                *(" ".join(f"{mb:,.0f}" for mb in r[k].values()) for k in ("memory_mb", "budget_mb")),
                *(f"{r[k]:,}" for k in ("hits", "loads", "load_seconds", "evictions")),
            )
            for r in rows
        ),
    )


def warm(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models, as `tradu models` lists them.")],
) -> None:
    """Have every worker load models now, and keep them as long as there is memory.

    Jobs do it by themselves for the models that they need, before their first shard comes.

    \b
    Examples:
      tradu models warm firefox-en-pt
    """
    from tradu.cluster.warm import ask
    from tradu.inference.registry import load_registry
    from tradu.settings import get_settings

    output, settings = Output(), get_settings()
    registry = load_registry(settings)
    models = [registry.model(name) for name in names]
    if away := [m.name for m in models if not registry.status(m).installed]:
        raise RequestError(f"not installed: {', '.join(away)}; `tradu models` says how to add them")

    def everywhere(hosts: list[Host]) -> dict[str, list[str]]:
        return {h.address: new for h in hosts if (new := [m.identity for m in models if m.identity not in h.loaded])}

    asked = ask(everywhere, settings)
    output.say(f"{len(asked)} workers load {', '.join(names)}: `tradu models workers` shows when they have.")
