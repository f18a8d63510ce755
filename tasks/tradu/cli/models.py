"""`tradu models`: what is installed, what could be, and what it costs."""

from __future__ import annotations

from typing import Any

from tradu.cli import options
from tradu.cli.output import Output, money

HOW_TO_ADD = (
    "A model of your own: add an entry to {file}: engine, tier, languages, licence, memory, cost;\n"
    "it is merged over the shipped ones. docs/how-to/add-a-model.md says more."
)


def models(as_json: options.Json = False) -> None:
    """List translation models: installed or missing, and how to add them.

    \b
    Examples:
      tradu models
      tradu models --json
    """
    from tradu.inference.registry import load_registry
    from tradu.settings import get_settings

    output, settings = Output(as_json), get_settings()
    registry = load_registry(settings)
    rows: list[dict[str, Any]] = [
        {
            "name": m.name,
            "version": m.version,
            "source": m.source,
            "target": m.target,
            "tier": m.tier,
            "engine": m.engine,
            "licence": m.licence,
            "memory_mb": m.memory_mb,
            "cost_per_million_characters": m.cpu_seconds_per_million_chars / 3600 * settings.cpu_price_per_hour,
            "installed": registry.status(m).installed,
            "how_to_add": registry.status(m).how_to_add or None,
        }
        for m in registry.models()
    ]
    if as_json:
        output.data(rows)
        return
    names = ("name", "source", "target", "tier", "engine", "licence")
    output.table(
        ("model", "from", "to", "tier", "engine", "licence", ">cost/M chars", "state"),
        ((*(r[n] for n in names), money(r["cost_per_million_characters"]), _state(r)) for r in rows),
    )
    output.say("\n" + HOW_TO_ADD.format(file=settings.home / "models.yaml"))


def _state(row: dict[str, Any]) -> str:
    return "installed" if row["installed"] else f"missing: {row['how_to_add']}"
