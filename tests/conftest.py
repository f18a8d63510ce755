"""Fixtures that every test may ask for."""

from __future__ import annotations

pytest_plugins = ["fixtures.postgres", "fixtures.line", "fixtures.stack"]
