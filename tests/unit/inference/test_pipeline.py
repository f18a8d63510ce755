"""Kept pipelines: no lock-up on large batches, and a death or a hang is an error, not silence."""

from __future__ import annotations

import sys

import pytest

from tradu.errors import ModelError
from tradu.inference.pipeline import Pipeline

ECHO = [sys.executable, "-uc", "import sys,os\nwhile d := os.read(0, 65536): os.write(1, d)"]
HANG = [sys.executable, "-c", "import sys, time; sys.stdin.read(1); time.sleep(60)"]
DIE = [sys.executable, "-c", "import sys; sys.stdin.read(1); sys.exit(3)"]


def test_batches_larger_than_any_pipe_go_through_and_again() -> None:
    pipeline = Pipeline([["cat"], ECHO, ["cat"]], None, 10)
    records = [f"{i}-".encode() * 200 for i in range(3_000)]
    assert pipeline.exchange(records) == records
    assert pipeline.exchange([b"", b"x"]) == [b"", b"x"]
    assert pipeline.exchange([]) == []
    pipeline.close()
    pipeline.close()
    assert not pipeline.alive


def test_a_hung_program_is_an_error_and_is_ended() -> None:
    pipeline = Pipeline([["cat"], HANG], None, 0.3)
    with pytest.raises(ModelError, match=r"hung: nothing for 0\.3 s"):
        pipeline.exchange([b"x"])
    assert not pipeline.alive


@pytest.mark.parametrize("commands", [[DIE, ["cat"]], [["cat"], DIE], [["cat"], DIE, ["cat"]]])
def test_a_dead_program_is_an_error(commands: list[list[str]]) -> None:
    pipeline = Pipeline(commands, None, 10)
    with pytest.raises(ModelError, match=r"died: .*ended with 3"):
        pipeline.exchange([b"x" * 200_000])
    with pytest.raises(ModelError, match="has ended"):
        pipeline.exchange([b"x"])


def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"nowhere/at-all can't be started"):
        Pipeline([["cat"], ["/nowhere/at-all"]], None, 10)


def test_a_program_that_answers_too_much_is_an_error() -> None:
    doubling = [sys.executable, "-uc", "import os\nwhile d := os.read(0, 99): os.write(1, d + d)"]
    with pytest.raises(ModelError, match="2 answers to 1 texts"):
        Pipeline([doubling], None, 10).exchange([b"x"])
