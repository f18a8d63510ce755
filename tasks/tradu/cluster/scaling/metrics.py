"""What the controller sees and decides as Prometheus metrics, in a file for the node exporter's textfile collector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from tradu.cluster.scaling.decide import Decision, Rule, Signals
from tradu.ledger.buckets import Bucket


class Metrics:
    """The file of one controller."""

    def __init__(self, file: Path) -> None:
        self._file, self._registry = file, CollectorRegistry()
        self._wanted = self._gauge("wanted_workers", "Workers that are wanted")
        self._workers = self._gauge("workers", "Workers that take work")
        self._capacity = self._gauge("capacity_workers", "Workers that the machines carry")
        self._queued = self._gauge("queued_blocks", "Blocks that wait")
        self._oldest = self._gauge("oldest_block_seconds", "How long the oldest block has waited")
        self._busy = self._gauge("busy_ratio", "Share of the workers that is busy")
        self._errors = self._gauge("error_ratio", "Share of blocks whose attempt failed")
        self._epoch = self._gauge("controller_epoch", "Epoch of the leading controller")
        self._rule = self._gauge("decision", "1 for the rule that the last decision rests on", "rule")

        self._claimed = self._limit("claimed_characters", "Characters claimed so far under a limit")
        self._refused = self._limit("refused_claims", "Claims so far that a limit has refused")
        self._wait = self._limit("wait_seconds", "How long the next claim under a limit has to wait")

    def _limit(self, name: str, help_text: str) -> Gauge:
        return Gauge(f"tradu_claim_limit_{name}", help_text, ["limit"], registry=self._registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(f"tradu_pool_{name}", help_text, ["pool", *labels], registry=self._registry)

    def write_buckets(self, buckets: Sequence[Bucket]) -> None:
        """What the limits of claims let through, and no others; in the file with the next `write`."""
        for gauge in (self._claimed, self._refused, self._wait):
            gauge.clear()
        for bucket in buckets:
            self._claimed.labels(bucket.name).set(bucket.claimed)
            self._refused.labels(bucket.name).set(bucket.refused)
            self._wait.labels(bucket.name).set(bucket.wait_seconds)

    def write(self, decided: Mapping[str, tuple[Signals, Decision]], epoch: int) -> None:
        """Replace the file with what was decided about each pool.

        Raises:
            OSError: it can't be written.
        """
        for pool, (signals, decision) in decided.items():
            self._wanted.labels(pool).set(decision.wanted)
            self._workers.labels(pool).set(signals.workers)
            self._capacity.labels(pool).set(signals.capacity)
            self._queued.labels(pool).set(signals.queued)
            self._oldest.labels(pool).set(signals.oldest_seconds)
            self._busy.labels(pool).set(signals.busy or 0.0)
            self._errors.labels(pool).set(signals.error_rate or 0.0)
            self._epoch.labels(pool).set(epoch)
            for rule in Rule:
                self._rule.labels(pool, rule.value).set(rule is decision.rule)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_to_textfile(str(self._file), self._registry)
