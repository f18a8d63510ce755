"""Data Docs of a gate: Great Expectations' own page of the totals, as one HTML file that loads nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tradu.quality.tally import RuleTotal, Tally
from tradu.quality.validator import import_great_expectations
from tradu.settings import get_settings

# Great Expectations links to the other pages of its site, which a gate does not have.
_LINK_TO_SITE = re.compile(r'<a href="\.\./[^>]*>(.*?)</a>', re.DOTALL)

if TYPE_CHECKING:
    from tradu.store import Store, StoredObject


def write_page(store: Store, prefix: str, suite: str, tally: Tally, stopped: bool, message: str) -> StoredObject:
    """Write the page of a gate to `<prefix>/index.html`."""
    return store.put(f"{prefix.strip('/')}/index.html", render(suite, tally, stopped, message).encode())


def render(suite: str, tally: Tally, stopped: bool, message: str) -> str:
    """The page: the verdict, then every expectation with its counts and first bad rows.

    Great Expectations' own page template loads seven scripts and six style sheets from the internet; ours
    (include/datadocs/gate.html) wraps the same rendered sections and carries its style.
    """
    gx = import_great_expectations()
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    document = ValidationResultsPageRenderer().render(_suite_result(suite, tally))
    view: Any = DefaultJinjaPageView(custom_views_directory=str(get_settings().include / "datadocs"))
    page: str = view.render(
        document,
        template="gate.html",
        gate=suite,
        message=message,
        verdict="stopped" if stopped else "passed with bad rows" if tally.bad else "passed",
        failures=[t for t in tally.totals.values() if not t.success],
        gx_version=gx.__version__,
    )
    return _LINK_TO_SITE.sub(r"\1", page)


def _suite_result(suite: str, tally: Tally) -> Any:
    """The totals of all chunks in Great Expectations' own shape."""
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult

    totals = list(tally.totals.values())
    good = sum(t.success for t in totals)
    return ExpectationSuiteValidationResult(
        success=good == len(totals),
        results=[_result(total, tally.key) for total in totals],
        suite_name=suite,
        statistics={
            "evaluated_expectations": len(totals),
            "successful_expectations": good,
            "unsuccessful_expectations": len(totals) - good,
            "success_percent": 100 * good / len(totals) if totals else None,
        },
        meta={"active_batch_definition": {"data_asset_name": f"{tally.rows:,} rows"}},
    )


def _result(total: RuleTotal, key: str) -> Any:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    rule = total.rule
    return ExpectationValidationResult(
        success=total.success,
        expectation_config=ExpectationConfiguration(type=rule.type, kwargs=dict(rule.kwargs)),
        result=_counts(total, key) if rule.column else {"observed_value": total.observed},
        exception_info={"raised_exception": False, "exception_message": None, "exception_traceback": None},
    )


def _counts(total: RuleTotal, key: str) -> dict[str, Any]:
    looked_at = total.rows - total.missing
    column = total.rule.column
    return {
        "element_count": total.rows,
        "missing_count": total.missing,
        "missing_percent": _percent(total.missing, total.rows),
        "unexpected_count": total.bad,
        "unexpected_percent": _percent(total.bad, looked_at),
        "unexpected_percent_total": _percent(total.bad, total.rows),
        "unexpected_percent_nonmissing": _percent(total.bad, looked_at),
        "partial_unexpected_list": [_shown(value) for _, value in total.examples],
        "unexpected_index_column_names": [key],
        "partial_unexpected_index_list": [{key: k, column: _shown(v)} for k, v in total.examples],
        "unexpected_index_list": [{key: k, column: _shown(v)} for k, v in total.examples],
    }


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def _shown(value: Any) -> Any:
    """A value as JSON can hold it, short."""
    plain = value.item() if hasattr(value, "item") else value
    return plain if isinstance(plain, int | float | bool) or plain is None else str(plain)[:200]
