"""Writes docs/reference/ from the code: `python -m tradu.cli.reference`. A test compares the files byte for byte."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
import yaml
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from tradu.cli.main import app
from tradu.settings import Settings, get_settings

MADE = "<!-- Made by `python -m tradu.cli.reference`: change the code, not this file. -->\n"
_COMPUTED = {
    "home": "`.tradu` in the checkout; `~/.tradu` where Tradu is installed from a wheel",
    "include": "`include` in the checkout, or the copy inside the wheel",
}
"""Defaults that depend on the machine, in words."""


def cli() -> str:
    """The page of commands."""
    root: Any = typer.main.get_command(app)
    parts = [MADE, "# Commands\n", _help_text(root.help)]
    for name, command in root.commands.items():
        parts += [f"## tradu {name}\n", _help_text(command.help), _parameters(command)]
        for inner, part in getattr(command, "commands", {}).items():
            parts += [f"### tradu {name} {inner}\n", _help_text(part.help), _parameters(part)]
    return "\n".join(part for part in parts if part)


def _help_text(text: str | None) -> str:
    """A command's help with its examples as a code block."""
    lines: list[str] = []
    in_examples = False
    for line in inspect.cleandoc(text or "").replace("\b\n", "").splitlines():
        if line.rstrip() == "Examples:":
            lines += ["```console"]
            in_examples = True
        elif in_examples and not line.strip():
            lines += ["```", ""]
            in_examples = False
        elif in_examples:
            goes_on = lines[-1].endswith("\\")
            lines += [f"    {line.strip()}" if goes_on else f"$ {line.strip()}"]
        else:
            lines += [line]
    return "\n".join([*lines, "```"] if in_examples else lines) + "\n"


def _parameters(command: Any) -> str:
    rows = [_row(parameter) for parameter in command.params if parameter.name != "help"]
    if not rows:
        return ""
    return "\n".join(["| option | default | meaning |", "| --- | --- | --- |", *rows]) + "\n"


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"`{parameter.metavar or parameter.name.upper()}`"
    else:
        names = ", ".join(f"`{opt}`" for opt in [*parameter.opts, *parameter.secondary_opts])
        name = f"{names} {parameter.metavar or ''}".strip()
    default = "required" if parameter.required else _default(parameter.default)
    return f"| {_cell(name)} | {default} | {_cell(parameter.help or '')} |"


def _default(value: object) -> str:
    return "" if value in (None, False, ()) or callable(value) else f"`{value}`"


def _cell(text: str) -> str:
    """Text as a cell of a Markdown table; what stands in backticks stays as it is."""
    line = re.sub(r"\s+", " ", text).replace("|", "\\|")
    return "".join(p if p.startswith("`") else p.replace("<", "&lt;") for p in re.split(r"(`[^`]*`)", line))


def configuration() -> str:
    """The page of settings."""
    parts = [
        MADE,
        "# Configuration\n",
        "These are environment variables; policies, models and profiles are YAML files in Tradu's home: "
        "[Where things are](../operations.md#where-things-are). A wrong value stops a command with the name of the "
        "variable and what is wrong with it.\n",
        "| variable | default | meaning |",
        "| --- | --- | --- |",
        *(
            f"| `TRADU_{name.upper()}` | {_setting(name, field)} | {_cell(field.description or '')} |"
            for name, field in Settings.model_fields.items()
        ),
    ]
    return "\n".join(parts) + "\n"


def _setting(name: str, field: FieldInfo) -> str:
    if name in _COMPUTED:
        return _COMPUTED[name]
    if field.default_factory is not None or isinstance(field.default, SecretStr):
        raise ValueError(f"TRADU_{name.upper()}: say its default in words in tradu.cli.reference")
    if field.default is None:
        return "unset"
    if isinstance(field.default, tuple):
        return "`[" + ", ".join(f'"{item}"' for item in field.default) + "]`"
    return f"`{field.default}`"


def models() -> str:
    """The page of models and profiles, as include/ has them: what is installed is another matter (`tradu models`)."""
    include = get_settings().include
    price = Settings.model_fields["cpu_price_per_hour"].default
    listed = yaml.safe_load((include / "models.yaml").read_text(encoding="utf-8"))["models"]
    profiles = yaml.safe_load((include / "profiles.yaml").read_text(encoding="utf-8"))["profiles"]
    parts = [
        MADE,
        "# Models and profiles\n",
        "Models of `include/models.yaml`; `tradu models` says which this machine has, and how to add one. Costs are "
        f"for a million characters of source text at {price} per core and hour (`TRADU_CPU_PRICE_PER_HOUR`).\n",
        "| model | from | to | tier | engine | licence | memory, MB | CPU s per million characters | cost |",
        "| --- | --- | --- | --- | --- | --- | ---: | ---: | ---: |",
        *(_model(name, entry, price) for name, entry in listed.items()),
        "\n| profile | tiers, in order | climbs below | meaning |",
        "| --- | --- | --- | --- |",
        *(_profile(name, entry) for name, entry in profiles.items()),
    ]
    return "\n".join(parts) + "\n"


def _model(name: str, entry: dict[str, Any], price: float) -> str:
    per_million = entry["cpu_seconds_per_million_chars"]
    cells = [
        f"`{name}`",
        *(str(entry[k]) for k in ("source", "target", "tier", "engine", "licence", "memory_mb")),
    ]
    cells += [f"{per_million:g}", f"{per_million / 3600 * price:.3g}"]
    return f"| {' | '.join(cells).replace('*', '&#42;')} |"


def _profile(name: str, entry: dict[str, Any]) -> str:
    tiers = ", ".join(entry["tiers"])
    below = entry.get("climb_below", "never")
    return f"| `{name}` | {tiers} | {below} | {_cell(entry['description'])} |"


PAGES: dict[str, Callable[[], str]] = {"cli.md": cli, "configuration.md": configuration, "models.md": models}


def write(folder: Path) -> Iterator[Path]:
    """Write every page; the files that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        file, text = folder / name, page()
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            yield file


if __name__ == "__main__":
    for changed in write(Path(__file__).resolve().parents[3] / "docs" / "reference"):
        sys.stderr.write(f"wrote {changed.name}\n")
