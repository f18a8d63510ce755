"""The one place that runs Great Expectations: a rule list on a frame in, counts and positions of bad rows out."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tradu.errors import SystemicError

if TYPE_CHECKING:
    import pandas as pd

    from tradu.quality.rules import Rule

# Imported by Great Expectations for divergences that no suite here asks for: 0.6 s of its 3.3 s.
_NEEDED_LATE = ("scipy.stats",)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What Great Expectations found for one rule on one frame."""

    success: bool
    rows: int
    """Rows looked at."""
    missing: int
    """Rows where the column is null (not counted by rules that are about nulls)."""
    positions: tuple[int, ...]
    """Positions of the rows that fail, empty for rules about the whole table."""
    observed: Any
    """Observed value of a rule about the whole table."""


def import_great_expectations() -> Any:
    """The library, without its analytics, and with what is not needed here put off until somebody does."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")
    if "great_expectations" not in sys.modules:
        for name in _NEEDED_LATE:
            _put_off(name)
        logging.getLogger("great_expectations").setLevel(logging.WARNING)
    import great_expectations

    return great_expectations


def _put_off(name: str) -> None:
    """Import a module when it is first used (importlib.util.LazyLoader)."""
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    spec.loader.exec_module(module)


class Validator:
    """One ephemeral context, used for every chunk of a gate."""

    def __init__(self, suite: str) -> None:
        self._gx = import_great_expectations()
        self._suite = suite
        context = self._gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False, "metric_calculations": False}
        asset = context.data_sources.add_pandas("tradu").add_dataframe_asset(suite)
        self._batches = asset.add_batch_definition_whole_dataframe("chunk")

    def validate(self, frame: pd.DataFrame, rules: Sequence[Rule]) -> list[Outcome]:
        """The outcome of each rule on the frame, whose index must be 0, 1, 2...

        Raises:
            SystemicError: an expectation could not be evaluated.
        """
        if not rules:
            return []
        expectations = [
            {"type": r.type, "kwargs": dict(r.kwargs), "meta": {"rule": number}} for number, r in enumerate(rules)
        ]
        suite = self._gx.ExpectationSuite(name=self._suite, expectations=expectations)
        batch = self._batches.get_batch(batch_parameters={"dataframe": frame})
        results = batch.validate(
            suite,
            result_format={
                "result_format": "COMPLETE",
                "exclude_unexpected_values": True,
                "include_unexpected_rows": False,
                "return_unexpected_index_query": False,
            },
        ).results
        ordered = sorted(results, key=lambda result: result.expectation_config.meta["rule"])
        return [self._outcome(result, rule, len(frame)) for result, rule in zip(ordered, rules, strict=True)]

    def _outcome(self, result: Any, rule: Rule, rows: int) -> Outcome:
        problem = _exception(result.exception_info)
        if problem:
            raise SystemicError(
                f"the gate {self._suite!r} could not evaluate {rule.type} on {rule.column or 'the table'}: {problem}"
            )
        found = result.result
        return Outcome(
            success=bool(result.success),
            rows=int(found.get("element_count", rows)),
            missing=int(found.get("missing_count", 0)),
            positions=tuple(int(i) for i in found.get("unexpected_index_list") or ()),
            observed=found.get("observed_value"),
        )


def _exception(info: Any) -> str | None:
    """The message of what an expectation raised, in either of the two shapes that Great Expectations gives."""
    if not info:
        return None
    if "raised_exception" in info:
        return str(info.get("exception_message")) if info["raised_exception"] else None
    messages = [str(i.get("exception_message")) for i in info.values() if i.get("raised_exception")]
    return messages[0] if messages else None
