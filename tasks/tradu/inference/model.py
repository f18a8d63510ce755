"""What an engine is, and what the registry knows about a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Model:
    """One loadable set of weights or rules, for one language pair (an entry of include/models.yaml)."""

    name: str
    version: str
    engine: str
    tier: str
    source: str
    target: str
    licence: str
    memory_mb: int
    cpu_seconds_per_million_chars: float
    """Measured on one core; estimates and costs are computed from it."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What the engine needs to find the model: mode name, folder, package."""
    weights: str = ""
    """Where the files lie: a folder, an `s3://` prefix, or a name in the model store; empty: where `options` say."""
    checksum: str = ""
    """SHA-256 over the list of the files, in hex (`tradu.inference.manifest`); empty: nobody has said."""
    gpu_memory_mb: int | None = None
    """What it takes of a GPU's memory; None: it does not run on one."""
    gpu_seconds_per_million_chars: float | None = None
    """Measured on one GPU; None: not measured."""
    max_batch_tokens: int | None = None
    """The most tokens, padding included, that the engine may take at once; None: as the engine thinks best."""
    candidate_for: str = ""
    """The model in whose place it is to be tried (docs/rollouts.md); else only a profile that names it uses it."""

    @property
    def device(self) -> str:
        """What it runs on: `cpu`, or `cuda`."""
        return "cuda" if self.options.get("device", "").startswith("cuda") else "cpu"

    @property
    def identity(self) -> str:
        """Name and version, as stored with every segment."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Status:
    """Whether a model can be used on this machine, and what to do when it can't."""

    installed: bool
    version: str
    """Version of what is installed; empty where nothing is."""
    how_to_add: str
    """The command, or the step, that adds the model."""
    unknown: bool = False
    """It could not be looked at just now (its store is away, say): it may be there all the same."""


Route = tuple[Model, ...]
"""One model, or several through pivot languages, that together lead from source to target."""


class Engine(Protocol):
    """A loaded model. Made, used and closed in the same thread; where it has an attribute `shareable` that is true, any
    threads may use it at the same time; where `remote` is true, it runs on a server, and has nothing to warm here."""

    def translate(self, texts: Sequence[str]) -> list[str]:
        """Translate each text (coded text: private-use characters are inline codes and come back unchanged).

        A text's translation does not depend on the others in the call.

        Raises:
            ModelError: the engine failed; no text of the call was translated.
        """
        ...

    def close(self) -> None:
        """Give back processes and memory. May be called twice."""
        ...
