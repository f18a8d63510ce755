"""What a drill measures, one JSON file a seed."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

RESULTS = Path(__file__).with_name("results")
FOLDER_VARIABLE = "TRADU_DRILL_RESULTS"


@dataclass(slots=True)
class Measured:
    """One drill. Times are in seconds."""

    drill: str
    harm: str
    undisturbed: float
    """From the start of the DAG run to the end of the job, when nothing happens."""
    blocks: int = 0
    shares: list[float] = field(default_factory=list)
    """Share of the blocks that was done at each harm."""
    until_progress: list[float] = field(default_factory=list)
    """From each harm to the next thing that the ledger saw of the job."""
    silence: float = 0.0
    """The longest time, from the first harm on, in which nothing of the job moved."""
    until_taken_over: float | None = None
    """From the harm until the last block that the victim held was claimed by another one."""
    until_done: float = 0.0
    """From the (first) harm to the end of the job."""
    total: float = 0.0
    blocks_tried_again: int = 0
    passed: bool = False

    def add(self, other: Measured) -> Measured:
        """The same drill in a further job: the worst of both."""
        self.shares += other.shares
        self.until_progress += other.until_progress
        self.silence = max(self.silence, other.silence)
        self.until_done = max(self.until_done, other.until_done)
        self.total = max(self.total, other.total)
        self.blocks_tried_again += other.blocks_tried_again
        self.passed = self.passed and other.passed
        return self

    @property
    def late(self) -> float:
        """What the harm cost."""
        return self.total - self.undisturbed


def folder() -> Path:
    """Where results go: TRADU_DRILL_RESULTS, or a folder here that git ignores."""
    return Path(os.environ.get(FOLDER_VARIABLE) or RESULTS)


def write(seed: int, measured: list[Measured]) -> Path:
    """Add drills to the file of a seed; one that is there is replaced."""
    path = folder() / f"seed-{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.is_file() else {}
    known |= {one.drill: asdict(one) | {"late": one.late} for one in measured}
    path.write_text(json.dumps(known, indent=1) + "\n")
    return path
