"""Fixtures that every test may ask for, and how Hypothesis behaves."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

pytest_plugins = ["fixtures.postgres", "fixtures.line", "fixtures.archive", "fixtures.s3", "fixtures.stack"]

# a machine that is busy with other things makes no test fail
settings.register_profile("tradu", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tradu")
