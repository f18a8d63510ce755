"""Stores of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradu.store import Store


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store: each test that asks for one runs on local files and on S3."""
    if request.param == "s3":
        found: Store = request.getfixturevalue("s3_store")
        return found
    made = Store((tmp_path / "store").as_uri())
    made.create()
    return made
