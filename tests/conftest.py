"""Fixtures that every test may ask for, and how Hypothesis behaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["fixtures.postgres", "fixtures.line", "fixtures.archive", "fixtures.s3", "fixtures.stack"]

# what commands print is as wide as in a pipe, whatever terminal the tests run in
os.environ.pop("COLUMNS", None)
# a machine that is busy with other things makes no test fail
settings.register_profile("tradu", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tradu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of the one stack begin when the other process is left with about as much as they take, and end with
    it; what starts a stack of its own comes before: it takes longest.
    """
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    parts = item.path.relative_to(Path(__file__).parent).parts
    if parts[0] == "e2e":
        return 1
    return 0 if item.get_closest_marker("stack") or (parts[0] == "integration" and len(parts) > 2) else 2


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """How `make test` shares the tests between its processes: a file's stay together, and so do those of the stack."""
    from xdist.scheduler import LoadFileScheduling

    class OneStack(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return "tests/e2e" if file.startswith("tests/e2e/") else file

    return OneStack(config, log)
