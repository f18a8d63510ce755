"""The rules of a suite that judge single rows, in plain Python: the suite file is the only place of thresholds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tradu.errors import RequestError
from tradu.settings import get_settings

ROW_TYPES = frozenset(
    {
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_be_null",
    }
)
"""Expectations that judge a row by itself. Every other type judges the batch."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One expectation of a suite."""

    type: str
    kwargs: Mapping[str, Any]
    reason: str
    """Stable identifier of what is wrong with a row that fails, as kept in the ledger."""
    sentence: str
    """The same for people: what is wrong, and what it usually means."""

    @property
    def column(self) -> str:
        """The column it looks at, empty where it looks at the whole table."""
        return str(self.kwargs.get("column", ""))

    @property
    def is_row_rule(self) -> bool:
        """Whether it judges rows one by one."""
        return self.type in ROW_TYPES

    def passes(self, value: Any) -> bool:
        """Whether a single value passes, as Great Expectations would say: a null fails only the rule against nulls."""
        null = value is None or value != value  # noqa: PLR0124 - NaN
        if self.type == "expect_column_values_to_not_be_null":
            return not null
        if self.type == "expect_column_values_to_be_null":
            return null
        if null:
            return True
        if self.type == "expect_column_values_to_be_in_set":
            return value in self.kwargs["value_set"]
        return self._between(value)

    def _between(self, value: Any) -> bool:
        least, most = self.kwargs.get("min_value"), self.kwargs.get("max_value")
        if least is not None and (value <= least if self.kwargs.get("strict_min") else value < least):
            return False
        return most is None or (value < most if self.kwargs.get("strict_max") else value <= most)


def suites_folder() -> Path:
    """Where the suites are kept."""
    return get_settings().include / "expectations"


def suite_file(suite: str) -> Path:
    """The file of a suite.

    Raises:
        RequestError: there is no suite of this name.
    """
    file = suites_folder() / f"{suite}.json"
    if not file.is_file():
        known = ", ".join(sorted(f.stem for f in suites_folder().glob("*.json")))
        raise RequestError(f"no expectation suite {suite!r} in {suites_folder()}: there are {known or 'none'}")
    return file


@lru_cache(maxsize=32)
def _parsed(file: Path, _changed_ns: int) -> tuple[Rule, ...]:
    content = json.loads(file.read_text(encoding="utf-8"))
    return tuple(
        Rule(e["type"], e["kwargs"], e["meta"]["reason"], e["meta"]["sentence"]) for e in content["expectations"]
    )


def rules(suite: str) -> tuple[Rule, ...]:
    """The expectations of a suite, in the order of the file.

    Raises:
        RequestError: there is no suite of this name.
    """
    file = suite_file(suite)
    return _parsed(file, file.stat().st_mtime_ns)


def columns(suite: str) -> tuple[str, ...]:
    """The columns that a suite looks at, each once: a frame for its gate must have them all."""
    return tuple(dict.fromkeys(r.column for r in rules(suite) if r.column))


@lru_cache(maxsize=32)
def row_judge(suite: str, fields: tuple[str, ...]) -> Callable[[Any], tuple[str, ...]]:
    """A function from an object with these fields to the reasons why it fails the suite's row rules.

    The suite is read once: a process that judges millions of rows looks at its file no more.
    """
    checked = [r for r in rules(suite) if r.is_row_rule and r.column in fields]

    def judge(row: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys(r.reason for r in checked if not r.passes(getattr(row, r.column))))

    return judge
