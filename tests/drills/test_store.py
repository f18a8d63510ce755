"""A store that goes away for a while, or is full: no block pays for it, and the job goes on when it is back."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import pytest

from drills import harm
from drills.drill import STAGES, Begin, Drill, Undisturbed
from drills.eyes import GIVEN_BACK
from drills.prose import LONG, MANY
from drills.test_stages import in_every_stage
from fixtures.stack import Stack

AWAY_SECONDS = 20.0
SHORTLY_SECONDS = 16.0
"""Three tries of a task, one after another, are over before."""
SPENT = "SELECT count(*) FROM blocks WHERE job_id = %(job)s AND attempt > 1"
pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


def test_the_store_goes_away(drilled: Stack, long_run: Undisturbed, begin: Begin) -> None:
    drill = begin(drilled, "store away", LONG)
    store = Path(drilled.line.store.root)
    hidden = store.with_name("away")
    drill.reach_share()
    store.rename(hidden)
    try:
        drill.harmed()
        time.sleep(AWAY_SECONDS)  # how long it is away
        assert not store.exists(), "somebody made an empty store where the real one was"
    finally:
        hidden.rename(store)
    measured = drill.finish(f"store away for {AWAY_SECONDS:.0f} s", long_run)
    assert measured.silence > AWAY_SECONDS / 2, "the store was away and nobody noticed"
    assert drill.ledger.value(SPENT, job=drill.job) == 0
    assert drill.ledger.rows(GIVEN_BACK, job=drill.job), "the history does not say why"


def test_the_store_goes_away_in_every_stage(drilled: Stack, many_run: Undisturbed, begin: Begin) -> None:
    store = Path(drilled.line.store.root)

    def strike(_drill: Drill, _target: int) -> None:
        hidden = store.with_name("away")
        store.rename(hidden)
        time.sleep(SHORTLY_SECONDS)  # how long it is away
        assert not store.exists(), "somebody made an empty store where the real one was"
        hidden.rename(store)

    def prove(drill: Drill, _hit: list[str]) -> None:
        drill.finish(f"store away for {SHORTLY_SECONDS:.0f} s in each of {len(STAGES)} stages", many_run)

    in_every_stage(lambda: begin(drilled, "store away in every stage", MANY), lambda *_: 1, strike, prove)


def test_the_disk_is_full(drilled: Stack, long_run: Undisturbed, begin: Begin, volume: tuple[Path, bool]) -> None:
    folder, small = volume
    if not small:
        warnings.warn("DRILL SKIPPED: the disk was not filled, since this user may not mount a tmpfs", stacklevel=1)
        pytest.skip("no right to mount a tmpfs")
    drill = begin(drilled, "disk full", LONG)
    drill.reach_share()
    filler = harm.fill(folder)
    try:
        drill.harmed()
        time.sleep(AWAY_SECONDS)  # how long it is full
    finally:
        filler.unlink()
    measured = drill.finish(f"disk full for {AWAY_SECONDS:.0f} s", long_run)
    assert measured.silence > AWAY_SECONDS / 2, "the disk was full and nobody noticed"
    assert drill.ledger.value(SPENT, job=drill.job) == 0
    assert drill.ledger.rows(GIVEN_BACK, job=drill.job), "the history does not say why"
