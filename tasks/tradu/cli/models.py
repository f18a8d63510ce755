"""`tradu models`: what is installed, what could be and what it costs; and a store of models of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tradu.cli import options
from tradu.cli.output import Output, money
from tradu.errors import RequestError

if TYPE_CHECKING:
    from tradu.inference.measure import Measured
    from tradu.inference.model import Model
    from tradu.inference.registry import Registry
    from tradu.settings import Settings

HELP = """List translation models: installed or missing, and how to add them.

\b
Examples:
  tradu models
  tradu models --json
  tradu models add opus-en-fi --engine firefox --source en --target fi --licence CC-BY-4.0 --from en-fi/
  tradu models benchmark opus-en-fi --write
"""
models = typer.Typer(invoke_without_command=True, rich_markup_mode=None, help=HELP)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A model's name, as `tradu models` lists it.")]


@models.callback()
def _list_unless_told_otherwise(context: typer.Context, as_json: options.Json = False) -> None:
    if context.invoked_subcommand is None:
        list_(as_json)


@models.command("list")
def list_(as_json: options.Json = False) -> None:
    """List translation models: installed or missing, and how to add them.

    \b
    Examples:
      tradu models list --json
    """
    from tradu.inference.registry import load_registry
    from tradu.settings import get_settings

    output, settings = Output(as_json), get_settings()
    registry = load_registry(settings)
    rows: list[dict[str, Any]] = [_row(m, registry, settings) for m in registry.models()]
    if as_json:
        output.data(rows)
        return
    names = ("name", "source", "target", "tier", "engine", "licence")
    output.table(
        ("model", "from", "to", "tier", "engine", "licence", ">cost/M chars", "state"),
        ((*(r[n] for n in names), money(r["cost_per_million_characters"]), _state(r)) for r in rows),
    )
    output.say(
        f"\nA model of your own: `tradu models add` puts it into {settings.model_store}, and its entry into\n"
        f"{settings.home / 'models.yaml'}. docs/how-to/add-a-model.md says more."
    )


@models.command()
def add(
    name: Name,
    engine: Annotated[str, typer.Option("--engine", metavar="ENGINE", help="What runs it, e.g. firefox.")],
    source: Annotated[str, typer.Option("--source", metavar="LANGUAGE", help="The language it reads.")],
    target: Annotated[str, typer.Option("--target", metavar="LANGUAGE", help="The language it writes.")],
    files: Annotated[str, typer.Option("--from", metavar="DIR|s3://...", help="Where its files are now.")],
    licence: Annotated[str, typer.Option("--licence", metavar="SPDX", help="The licence of the weights.")],
    tier: Annotated[str, typer.Option("--tier", help="economy, standard or premium.")] = "standard",
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="An option of the engine.")
    ] = None,
    memory_mb: Annotated[int | None, typer.Option("--memory-mb", min=0, help="Unset: measured.")] = None,
    cpu_seconds: Annotated[
        float | None, typer.Option("--cpu-seconds", min=0, help="Per million characters. Unset: measured.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Copy a model into the model store, try and measure it, and write its entry into your models.yaml.

    With --memory-mb and --cpu-seconds it is not tried: for models that this machine can't run.

    \b
    Examples:
      tradu models add opus-en-fi --engine firefox --source en --target fi --licence CC-BY-4.0 --from en-fi/
      tradu models add big-en-fi --engine firefox --source en --target fi --licence MIT --from s3://models/en-fi \\
        --option threads=2 --tier premium
    """
    from tradu.inference import engines, model_store, own_models
    from tradu.inference.measure import write_fields
    from tradu.inference.registry import load_registry, model_of
    from tradu.settings import get_settings

    output, settings = Output(as_json), get_settings()
    entry: dict[str, Any] = {
        "engine": engine, "tier": tier, "source": source, "target": target, "licence": licence,
        "memory_mb": memory_mb or 0, "cpu_seconds_per_million_chars": cpu_seconds or 0.0,
        "weights": name, "checksum": "0" * 64,
    }  # fmt: skip
    if option:
        entry["options"] = dict(_pair(o) for o in option)
    model_of(name, entry, f"model {name!r}")  # what is wrong with it is said before anything is copied
    registry = load_registry(settings)
    if (before := registry.find(name)) is not None and before.weights != name:
        raise RequestError(f"there is a model {name!r} already, which is not in the model store: choose another name")
    listed = model_store.add(name, files, settings)
    entry["checksum"] = listed.checksum
    try:
        model = model_of(name, entry, f"model {name!r}")
        if memory_mb is None or cpu_seconds is None:
            output.warn(f"{name}: {len(listed.files)} files, {listed.size_bytes / 1e6:,.1f} MB copied; it is tried now")
            measured = write_fields(_measured(model, registry))
            given = {"memory_mb": memory_mb, "cpu_seconds_per_million_chars": cpu_seconds}
            entry |= measured | {k: v for k, v in given.items() if v is not None}
        elif not engines.status(model).installed:
            raise RequestError(f"{name}: {engines.status(model).how_to_add}")
    except BaseException:
        if before is None or before.checksum != listed.checksum:
            model_store.remove(name, listed.checksum, settings)
        raise
    own_models.put(settings.home / "models.yaml", name, entry)
    if as_json:
        output.data({"name": name, **entry})
    else:
        output.say(f"{name} is in {settings.model_store} and in {settings.home / 'models.yaml'}.")
    if before is not None and before.checksum != listed.checksum:
        output.warn(f"The files it had before stay, for jobs that run: {settings.model_store}/{name}/{before.checksum}")


@models.command()
def remove(
    name: Name,
    keep_files: Annotated[bool, typer.Option("--keep-files", help="Leave its files in the model store.")] = False,
) -> None:
    """Take a model out of the list, and its files out of the model store. Shipped models are only hidden.

    \b
    Examples:
      tradu models remove opus-en-fi
    """
    from tradu.inference import model_store, own_models, weights
    from tradu.inference.registry import load_registry, shipped_names
    from tradu.settings import get_settings

    output, settings = Output(), get_settings()
    registry, file = load_registry(settings), settings.home / "models.yaml"
    model = registry.model(name)
    if using := [p.name for p in registry.profiles() if name in p.models]:
        raise RequestError(f"{name} can't be removed: the profiles {', '.join(using)} name it")
    if name in shipped_names(settings):
        own_models.put(file, name, None)
        output.say(f"{name} is hidden; take `{name}: null` out of {file} to have it back.")
        return
    own_models.drop(file, name)
    others = [m.name for m in registry.models() if m.name != name and m.weights == model.weights]
    in_store = model.checksum and weights.NAME.fullmatch(model.weights)
    if in_store and not keep_files and not others:
        model_store.remove(model.weights, model.checksum, settings)
    output.say(f"{name} is removed." + (f" Its files stay: {', '.join(others)} have the same." if others else ""))


@models.command()
def verify(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="None: every model with weights.")] = None,
    translate: Annotated[bool, typer.Option("--translate", help="Load each and translate a word with it.")] = False,
    as_json: options.Json = False,
) -> None:
    """Read the files of models again, and compare them with their checksums.

    \b
    Examples:
      tradu models verify
      tradu models verify opus-en-fi --translate

    Exit codes: 0 all well, 1 something is not.
    """
    from tradu.errors import ModelError
    from tradu.inference import model_store
    from tradu.inference.pool import EnginePool
    from tradu.inference.registry import load_registry
    from tradu.settings import get_settings

    output, settings = Output(as_json), get_settings()
    registry = load_registry(settings)
    chosen = [registry.model(name)] if name else [m for m in registry.models() if m.weights]
    faults: dict[str, list[str]] = {}
    pool = EnginePool()
    for model in chosen:
        faults[model.name] = model_store.faults(model, settings) if model.weights else []
        if translate and not faults[model.name]:
            try:
                if not pool.get(model).translate(["OK"])[0].strip():
                    faults[model.name].append("translates a word into nothing")
            except ModelError as error:
                faults[model.name].append(str(error))
    pool.close()
    if as_json:
        output.data([{"name": model, "faults": found} for model, found in faults.items()])
    else:
        for model_name, found in faults.items():
            output.say(f"{model_name}: {'; '.join(found) or 'well'}")
        if not chosen:
            output.warn("No model has weights of its own: nothing was looked at.")
    raise typer.Exit(1 if any(faults.values()) else 0)


@models.command()
def benchmark(
    name: Name,
    write: Annotated[bool, typer.Option("--write", help="Write cost and memory into your models.yaml.")] = False,
    sentences: Annotated[int, typer.Option("--sentences", min=10, max=100_000, help="How many are translated.")] = 400,
    as_json: options.Json = False,
) -> None:
    """Measure what a model costs on this machine: seconds per million characters, memory, time to load.

    \b
    Examples:
      tradu models benchmark firefox-en-pt
      tradu models benchmark opus-en-fi --write
    """
    from tradu.inference import own_models
    from tradu.inference.measure import write_fields
    from tradu.inference.registry import load_registry
    from tradu.settings import get_settings

    output, settings = Output(as_json), get_settings()
    registry = load_registry(settings)
    model = registry.model(name)
    status = registry.status(model)
    if not status.installed:
        raise RequestError(f"{name} is not installed: {status.how_to_add}")
    made = _measured(model, registry, sentences)
    if write:
        file = settings.home / "models.yaml"
        own_models.put(file, name, (own_models.entries(file).get(name) or {}) | write_fields(made))
    if as_json:
        output.data(made)
        return
    output.table(
        ("model", "on", ">s/M chars", ">chars/s", ">sentences/s", ">to load, s", ">memory, MB"),
        [(name, made.device, f"{made.seconds_per_million_chars:.2f}", f"{made.characters / made.seconds:,.0f}",
          f"{made.sentences / made.seconds:,.0f}", f"{made.load_seconds:.2f}", f"{made.memory_mb:,.0f}")],
    )  # fmt: skip


def _measured(model: Model, registry: Registry, sentences: int = 400) -> Measured:
    """Errors of the model are the request's here: there is no other model to go on with.

    Raises:
        RequestError: it can't be loaded, or fails.
    """
    from tradu.errors import ModelError, ResourceError
    from tradu.inference.measure import measure, texts_for

    try:
        return measure(model, texts_for(model, registry, sentences))
    except (ModelError, ResourceError) as error:
        raise RequestError(str(error)) from error


def _pair(option: str) -> tuple[str, str]:
    key, equals, value = option.partition("=")
    if not key or not equals:
        raise RequestError(f"--option {option}: it must be NAME=VALUE")
    return key, value


def _row(model: Model, registry: Registry, settings: Settings) -> dict[str, Any]:
    status = registry.status(model)
    return {
        "name": model.name,
        "version": model.version,
        "source": model.source,
        "target": model.target,
        "tier": model.tier,
        "engine": model.engine,
        "licence": model.licence,
        "memory_mb": model.memory_mb,
        "cost_per_million_characters": model.cpu_seconds_per_million_chars / 3600 * settings.cpu_price_per_hour,
        "weights": model.weights or None,
        "checksum": model.checksum or None,
        "installed": status.installed,
        "how_to_add": status.how_to_add or None,
    }


def _state(row: dict[str, Any]) -> str:
    return "installed" if row["installed"] else f"missing: {row['how_to_add']}"
