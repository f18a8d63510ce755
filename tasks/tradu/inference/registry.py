"""The registry: which models and profiles there are (include/*.yaml), and which of them this machine can use."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tradu.entries import checked, entries, read
from tradu.errors import RequestError, SystemicError, TraduError
from tradu.inference import engines, languages, weights
from tradu.inference.cascade import Plan, plan
from tradu.inference.model import Model, Route, Status
from tradu.inference.routes import find_routes
from tradu.settings import Settings, get_settings

log = logging.getLogger(__name__)
Tier = Literal["memory", "economy", "standard", "premium"]


class _Entry(BaseModel):
    """A model in models.yaml."""

    model_config = ConfigDict(extra="forbid")

    engine: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    tier: Tier
    source: str
    target: str
    licence: str
    memory_mb: Annotated[int, Field(ge=0)]
    cpu_seconds_per_million_chars: Annotated[float, Field(ge=0)]
    version: str | None = None
    options: dict[str, str] = Field(default_factory=dict)
    weights: str = ""
    checksum: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    gpu_memory_mb: Annotated[int, Field(ge=0)] | None = None
    gpu_seconds_per_million_chars: Annotated[float, Field(ge=0)] | None = None
    max_batch_tokens: Annotated[int, Field(ge=1)] | None = None
    candidate_for: str = ""

    @model_validator(mode="after")
    def _weights(self) -> _Entry:
        weights.check(self.weights, self.checksum)
        return self

    @field_validator("source", "target")
    @classmethod
    def _language(cls, code: str) -> str:
        try:
            return code if code == languages.ANY else languages.normalise(code)
        except RequestError as error:
            raise ValueError(str(error)) from None


class _ProfileEntry(BaseModel):
    """A profile in profiles.yaml."""

    model_config = ConfigDict(extra="forbid")

    description: str
    tiers: Annotated[tuple[Tier, ...], Field(min_length=1)]
    climb_below: Annotated[float, Field(ge=0, le=1)] = 0.0
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """What a job may ask for: the tiers it uses, in order of preference."""

    name: str
    description: str
    tiers: tuple[str, ...]
    climb_below: float = 0.0
    """The score under which a segment climbs to the next higher tier; 0: none does."""
    models: tuple[str, ...] = ()
    """Where given, only these models are used; models for any language are used only where a profile names them."""


class Registry:
    """Models and profiles. Made once per process; what is installed is looked at when it is made."""

    def __init__(self, models: Iterable[Model], profiles: Iterable[Profile]) -> None:
        self._models: dict[str, Model] = {}
        self._status: dict[str, Status] = {}
        for model in models:
            try:
                status = engines.status(model)
            except (TraduError, OSError) as error:  # the others are no worse for it
                status = Status(False, "", str(error), unknown=True)
            self._status[model.name] = status
            self._models[model.name] = _with_version(model, status)
        self._profiles = {profile.name: profile for profile in profiles}

    def models(self) -> tuple[Model, ...]:
        """Every model the registry knows, installed or not, in the order of the file."""
        return tuple(self._models.values())

    def model(self, name: str) -> Model:
        """The model of this name.

        Raises:
            RequestError: there is none.
        """
        return _named(self._models, name, "model")

    def find(self, name: str) -> Model | None:
        """The model of this name, where there is one."""
        return self._models.get(name)

    def status(self, model: Model) -> Status:
        """Whether this machine can use a model of the registry, and the command that adds it where not."""
        return self._status[model.name]

    @property
    def is_whole(self) -> bool:
        """Whether every model could be looked at."""
        return not any(status.unknown for status in self._status.values())

    def profiles(self) -> tuple[Profile, ...]:
        """Every profile, in the order of the file."""
        return tuple(self._profiles.values())

    def profile(self, name: str) -> Profile:
        """The profile of this name.

        Raises:
            RequestError: there is none.
        """
        return _named(self._profiles, name, "profile")

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The direct pairs (source, target) of the installed models, sorted."""
        return tuple(sorted({(m.source, m.target) for m in self._usable() if m.source != languages.ANY}))

    def routes(self, source: str, target: str, profile: str) -> tuple[Route, ...]:
        """Ways from source to target with the installed models, in the order they are tried.

        Raises:
            RequestError: unknown language or profile, or no way; says which pairs exist and what to install.
            SystemicError: as `plan`.
        """
        return self.plan(source, target, profile).routes

    def plan(self, source: str, target: str, profile: str) -> Plan:
        """How a profile translates from source to target with the installed models.

        Raises:
            RequestError: unknown language or profile, or no way; says which pairs exist and what to install.
            SystemicError: there may be a way, by a model that could not be looked at.
        """
        wanted = self.profile(profile)
        start, end = languages.normalise(source), languages.normalise(target)
        routes = find_routes(self._usable(), start, end, wanted.tiers, wanted.models)
        if not routes:
            perhaps = [m for m in self.models() if (s := self.status(m)).installed or s.unknown]
            if doubtful := find_routes(perhaps, start, end, wanted.tiers, wanted.models):
                raise SystemicError(self._not_looked_at(start, end, doubtful[0]))
            raise RequestError(self._no_route(start, end, wanted))
        return plan(routes, wanted.climb_below)

    def _usable(self) -> list[Model]:
        return [model for model in self._models.values() if self._status[model.name].installed]

    def _not_looked_at(self, start: str, end: str, route: Route) -> str:
        unknown = [f"{m.name} ({self._status[m.name].how_to_add})" for m in route if self._status[m.name].unknown]
        return f"whether anything translates {start} to {end} can't be said now: no look at {', '.join(unknown)}"

    def _no_route(self, start: str, end: str, profile: Profile) -> str:
        said = f"no model translates {start} to {end} with profile {profile.name!r}"
        if start == end:
            return f"{said}: source and target are the same language (profile 'identity' copies documents)"
        if profile.models:
            return f"{said}: it uses only {', '.join(profile.models)}"
        pairs = ", ".join(f"{a}->{b}" for a, b in self.pairs()) or "none"
        return f"{said}; installed pairs: {pairs}. {self._advice(start, end, profile)}"

    def _advice(self, start: str, end: str, profile: Profile) -> str:
        """What to install: the missing models of the best route there would be with everything installed."""
        possible = find_routes(self._models.values(), start, end, profile.tiers, ())
        if not possible:
            return "Add one to models.yaml in Tradu's home (docs/how-to/add-a-model.md)"
        missing = [self._status[m.name].how_to_add for m in possible[0] if not self._status[m.name].installed]
        return f"To add it: {'; '.join(dict.fromkeys(missing))}"


def load_registry(settings: Settings | None = None) -> Registry:
    """The registry of `include/models.yaml` and `profiles.yaml`, with files of the same names in the home merged over.

    In the user's file an entry changes the fields it names, a new name adds an entry, and `null` removes one.

    Raises:
        RequestError: a file is missing or an entry is wrong; the message names file, entry and field.
    """
    settings = settings or get_settings()
    models = [model_of(name, entry, where) for name, entry, where in entries(settings, "models", "models")]
    profiles = [_profile(name, entry, where) for name, entry, where in entries(settings, "profiles", "profiles")]
    known = {model.name: model for model in models}
    for model in models:
        _check_candidate(model, known.get(model.candidate_for))
    for profile in profiles:
        if stray := set(profile.models) - known.keys():
            names = ", ".join(sorted(stray))
            raise RequestError(f"profile {profile.name!r} names unknown models: {names}")
    return Registry(models, profiles)


def shipped_names(settings: Settings) -> frozenset[str]:
    """The names of the models in `include/models.yaml`."""
    return frozenset(read(settings.include / "models.yaml", "models"))


def profile_names(settings: Settings) -> tuple[str, ...]:
    """The names of the profiles, without looking at any model; those that are shipped, where the home's file is wrong.

    The DAG's form shows them: a mistake in the file must not take the DAG away from the jobs that run.

    Raises:
        RequestError: the shipped file is missing or is no mapping.
    """
    try:
        return tuple(name for name, _, _ in entries(settings, "profiles", "profiles"))
    except RequestError as error:
        log.error("only the shipped profiles are there until this is mended: %s", error)  # noqa: TRY400 - it says where
        return tuple(read(settings.include / "profiles.yaml", "profiles"))


def model_of(name: str, entry: object, where: str) -> Model:
    """The model of an entry; `where` begins the message where it is wrong.

    Raises:
        RequestError: it is wrong.
    """
    made = checked(_Entry, entry, where)
    if made.engine not in engines.names():
        raise RequestError(f"{where}: engine: there is no {made.engine!r}, only {', '.join(engines.names())}")
    fields = made.model_dump()
    return Model(name=name, version=fields.pop("version") or "", **fields)


def _check_candidate(model: Model, incumbent: Model | None) -> None:
    """Make sure that a candidate can stand where the model stands that it is for.

    Raises:
        RequestError: there is no such model, or it has other languages or another tier, or is a candidate too.
    """
    if not model.candidate_for:
        return
    said = f"model {model.name!r}: candidate_for: "
    if incumbent is None or incumbent.candidate_for:
        raise RequestError(f"{said}there is no model {model.candidate_for!r} that is in use")
    if (model.source, model.target, model.tier) != (incumbent.source, incumbent.target, incumbent.tier):
        raise RequestError(f"{said}it must have the languages and the tier of {incumbent.name!r}")


def _profile(name: str, entry: object, where: str) -> Profile:
    return Profile(name=name, **checked(_ProfileEntry, entry, where).model_dump())


def _with_version(model: Model, status: Status) -> Model:
    return model if model.version else replace(model, version=status.version)


_T = TypeVar("_T")


def _named(things: Mapping[str, _T], name: str, kind: str) -> _T:
    if name not in things:
        raise RequestError(f"there is no {kind} {name!r}; there are: {', '.join(things)}")
    return things[name]
