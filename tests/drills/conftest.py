"""The stack that is drilled, its seed, and what an undisturbed run of each document set gives."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from drills import record
from drills.drill import Begin, Drill, Undisturbed, undisturbed
from drills.prose import LONG, MANY
from drills.record import Measured
from fixtures.stack import Stack, running

SEED_VARIABLE = "TRADU_DRILL_SEED"
VOLUME_MEGABYTES = 384
SETTINGS = {"TRADU_BATCH_CHARS": "16000", "TRADU_MIN_SHARD_CHARS": "400000"}
"""Small batches and several shards, so that a job of a minute has the shape of one of a night."""


def pytest_report_header() -> str:
    return f"drills: {SEED_VARIABLE}={_seed()}"


def _seed() -> int:
    given = os.environ.setdefault(SEED_VARIABLE, str(random.SystemRandom().randrange(1_000_000)))
    return int(given)


@pytest.fixture(scope="session")
def seed() -> int:
    return _seed()


@pytest.fixture(scope="session")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bool]]:
    """The folder that the store lies in, and whether it is a small file system of its own that may be filled."""
    folder = tmp_path_factory.mktemp("volume")
    with _mounted(folder) as small:
        yield folder, small


@contextmanager
def _mounted(folder: Path) -> Iterator[bool]:
    size = f"size={VOLUME_MEGABYTES}m,mode=0700"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tradu-drill", folder], check=False)
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def drilled(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, volume: tuple[Path, bool]
) -> Iterator[Stack]:
    """The stack that most drills share."""
    store = (volume[0] / "store").as_uri()
    with running(tmp_path_factory.mktemp("drills"), request.session, TRADU_STORE_URL=store, **SETTINGS) as stack:
        yield stack


@pytest.fixture(scope="session")
def long_run(drilled: Stack) -> Undisturbed:
    return undisturbed(drilled, LONG, "undisturbed long")


@pytest.fixture(scope="session")
def many_run(drilled: Stack) -> Undisturbed:
    return undisturbed(drilled, MANY, "undisturbed many")


@pytest.fixture
def begin(seed: int) -> Iterator[Begin]:
    """Starts the job of a drill; what was measured is written, however it ends."""
    begun: list[Drill] = []

    def start(stack: Stack, name: str, files: Mapping[str, str]) -> Drill:
        drill = Drill(stack, name, files, seed)
        begun.append(drill)
        drill.start()
        return drill

    yield start
    own: dict[str, Measured] = {}
    for drill in begun:
        drill.close()
        if drill.measured is not None:
            known = own.get(drill.name)
            own[drill.name] = known.add(drill.measured) if known else drill.measured
    for one in own.values():
        record.write(seed, [one])
        print(f"\n{one}")
