"""What the chunks of a gate add up to: counts per rule, the keys of bad rows, a few examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tradu.quality.rules import Rule

if TYPE_CHECKING:
    import pandas as pd

    from tradu.quality.validator import Outcome

EXAMPLES = 20
"""Bad rows of each rule that the Data Docs show."""


@dataclass(slots=True)
class RuleTotal:
    """One rule over all chunks."""

    rule: Rule
    rows: int = 0
    missing: int = 0
    bad: int = 0
    success: bool = True
    observed: Any = None
    examples: list[tuple[str, Any]] = field(default_factory=list)
    """Key and value of the first bad rows."""


class Tally:
    """Totals of a gate, chunk after chunk."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.rows = 0
        self.bad_rows = 0
        self.bad: dict[str, tuple[str, ...]] = {}
        self.reasons: Counter[str] = Counter()
        """Bad rows of each reason."""
        self.totals: dict[int, RuleTotal] = {}

    @property
    def bad_share(self) -> float:
        """Bad rows by rows."""
        return self.bad_rows / self.rows if self.rows else 0.0

    def add(self, chunk: pd.DataFrame, rules: Sequence[Rule], outcomes: Sequence[Outcome]) -> None:
        """Take in a chunk's row rules."""
        reasons: dict[int, dict[str, None]] = {}
        for rule, outcome in zip(rules, outcomes, strict=True):
            self._add_rule(chunk, rule, outcome)
            for position in outcome.positions:
                reasons.setdefault(position, {})[rule.reason] = None
        self.rows += len(chunk)
        self.bad_rows += len(reasons)
        keys = chunk[self.key]
        for position in sorted(reasons):
            key = str(keys.iat[position])
            self.reasons.update(reasons[position].keys())
            self.bad[key] = tuple(dict.fromkeys((*self.bad.get(key, ()), *reasons[position])))

    def add_batch(self, frame: pd.DataFrame, rules: Sequence[Rule], outcomes: Sequence[Outcome]) -> None:
        """Take in the rules about the batch as a whole."""
        for rule, outcome in zip(rules, outcomes, strict=True):
            self._add_rule(frame, rule, outcome)

    def failed_batch_rules(self) -> list[RuleTotal]:
        """The batch rules that failed."""
        return [t for t in self.totals.values() if not t.rule.is_row_rule and not t.success]

    def _add_rule(self, frame: pd.DataFrame, rule: Rule, outcome: Outcome) -> None:
        total = self.totals.setdefault(id(rule), RuleTotal(rule))
        total.rows += outcome.rows
        total.missing += outcome.missing
        total.bad += len(outcome.positions)
        total.success &= outcome.success
        total.observed = outcome.observed
        for position in outcome.positions[: EXAMPLES - len(total.examples)]:
            key = frame[self.key].iat[position] if self.key in frame else frame[rule.column].iat[position]
            total.examples.append((str(key), frame[rule.column].iat[position]))
