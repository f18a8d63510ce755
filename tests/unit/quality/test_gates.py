"""Every expectation of every suite is caught by a planted row, and gates stop or go on as they should."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from tradu.errors import RequestError, SystemicError
from tradu.quality import gates
from tradu.quality.checks import check_source, check_translation
from tradu.quality.gates import Verdict, judge_rows
from tradu.quality.rules import Rule, columns, row_judge, rules, suites_folder
from tradu.store import Store

SUITES = sorted(file.stem for file in suites_folder().glob("*.json"))
KEYS = {"documents": "document_id", "blocks": "block_id", "translations": "block_id", "output": "document_id"}
GOOD = {
    "documents": {
        "document_id": "d1", "name": "a.txt", "size_bytes": 10, "format": "text", "error": None, "language": "en",
        "language_confidence": 0.9, "segments": 0, "characters": 0,
    },
    "blocks": {"block_id": "b1", "document_id": "d1", "number": 0, "characters": 5, "segments": 1}
    | asdict(check_source("A short text.")),
    "translations": {"block_id": "b1", "segment_number": 0}
    | asdict(check_translation("Good day", "Bom dia", "en", "pt")),
    "output": {
        "document_id": "d1", "target": "pt", "size_bytes": 10, "sha256": "ab", "units_in": 1, "units_out": 1,
        "units_lost": 0, "segments": 1, "translated": 1, "untranslated": 0,
    },
}  # fmt: skip
UNIQUE = {"documents": "document_id", "blocks": "block_id"}
ALL_RULES = [(suite, rule) for suite in SUITES for rule in rules(suite)]


def planted(rule: Rule) -> object:
    """A value that breaks the rule."""
    kind = rule.type.removeprefix("expect_column_values_to_")
    if kind == "be_between":
        least, most = rule.kwargs.get("min_value"), rule.kwargs.get("max_value")
        return most + 1 if most is not None else least - 1
    if kind == "be_in_set":
        allowed = rule.kwargs["value_set"]
        return (not allowed[0]) if isinstance(allowed[0], bool) else "nothing of the kind"
    return {"not_be_null": None, "be_null": "something"}[kind]


def frame(suite: str, count: int = 1, **changed: object) -> pd.DataFrame:
    """Good rows, each with its own key, the last one changed."""
    key = KEYS[suite]
    rows = [GOOD[suite] | {key: f"k{n}"} for n in range(count)]
    rows[-1] |= changed
    return pd.DataFrame(rows).astype(dict.fromkeys(changed, object))


def judge(suite: str, *frames: pd.DataFrame, **options: Any) -> Verdict:
    return judge_rows(suite, frames, KEYS[suite], **{"max_bad_share": 0.2} | options)


def test_the_suites_are_these_four() -> None:
    assert set(SUITES) == set(KEYS)


@pytest.mark.parametrize("suite", SUITES)
def test_good_rows_pass(suite: str) -> None:
    verdict = judge(suite, frame(suite, 30))
    assert (verdict.rows, verdict.bad, verdict.bad_share, verdict.stopped) == (30, {}, 0.0, False)
    assert "none bad" in verdict.message


@pytest.mark.parametrize(
    ("suite", "rule"), [(s, r) for s, r in ALL_RULES if r.is_row_rule], ids=lambda x: getattr(x, "column", x)
)
def test_every_row_rule_catches_its_planted_row(suite: str, rule: Rule) -> None:
    value = planted(rule)
    assert not rule.passes(value)
    verdict = judge(suite, frame(suite, 3, **{rule.column: value}))
    key = "k2" if rule.column != KEYS[suite] else str(frame(suite, 3, **{rule.column: value})[rule.column].iat[2])
    assert rule.reason in verdict.bad[key]
    assert len(verdict.bad) == 1


def test_every_batch_rule_stops_the_run() -> None:
    found = {(suite, rule.type) for suite, rule in ALL_RULES if not rule.is_row_rule}
    assert found == {
        ("documents", "expect_table_row_count_to_be_between"),
        ("documents", "expect_column_values_to_be_unique"),
        ("blocks", "expect_column_values_to_be_unique"),
    }, "plant a violation of the new batch rule here"
    nothing = judge("documents")
    assert nothing.stopped
    assert "nothing was found" in nothing.message
    for suite in UNIQUE:
        twice = judge(suite, frame(suite, 2), frame(suite, 2))  # the twins come in different frames
        assert twice.stopped
        assert "expect_column_values_to_be_unique" in twice.message
        assert "k0" in twice.message


@pytest.mark.parametrize("suite", SUITES)
def test_plain_python_and_great_expectations_agree(suite: str) -> None:
    rows = [GOOD[suite]]
    rows += [GOOD[suite] | {rule.column: planted(rule)} for rule in rules(suite) if rule.is_row_rule]
    for n, row in enumerate(rows):
        row["place"] = f"p{n}"
    plain = row_judge(suite, tuple(rows[0]))
    expected = {row["place"]: plain(SimpleNamespace(**row)) for row in rows}
    verdict = judge_rows(suite, [pd.DataFrame(rows).astype(object)], "place", max_bad_share=1)
    assert verdict.bad == {place: reasons for place, reasons in expected.items() if reasons}


@pytest.mark.parametrize(("bad", "rows", "stopped"), [(4, 20, False), (5, 20, True), (19, 19, False), (20, 20, True)])
def test_a_share_of_bad_rows_above_the_limit_stops(bad: int, rows: int, stopped: bool) -> None:
    data = pd.concat([frame("output", rows)], ignore_index=True)
    data.loc[: bad - 1, "size_bytes"] = 0
    verdict = judge("output", data)
    assert verdict.stopped is stopped
    assert len(verdict.bad) == bad
    assert ("TRADU_MAX_BAD_SHARE" in verdict.message) is stopped


def test_reasons_of_several_rows_of_one_block_are_put_together() -> None:
    row = GOOD["translations"]
    data = pd.DataFrame([row | {"numbers_missing": 2}, row | {"empty": True}, row | {"block_id": "b2"}])
    verdict = judge_rows("translations", [data], "block_id", max_bad_share=1)
    assert verdict.bad == {"b1": ("numbers", "empty")}
    assert (verdict.rows, verdict.bad_share) == (3, 2 / 3)


def test_chunks_add_up_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "CHUNK_ROWS", 100)
    monkeypatch.setattr(gates, "MAX_BAD_KEYS", 150)
    seen = []

    def frames() -> Iterator[pd.DataFrame]:
        for n in range(1_000):
            seen.append(n)
            rows = [GOOD["output"] | {"document_id": f"d{n}-{i}", "size_bytes": 0} for i in range(40)]
            yield pd.DataFrame(rows)

    verdict = judge("output", *[])
    assert verdict.rows == 0
    verdict = judge_rows("output", frames(), "document_id", max_bad_share=1)
    assert verdict.stopped
    assert "Stopped early" in verdict.message
    assert len(verdict.bad) <= 250
    assert len(seen) < 10, "the rest of the rows is not even read"
    cut = judge("output", frame("output", 250))
    assert (cut.rows, cut.bad) == (250, {})


def test_a_missing_column_and_an_unknown_suite_are_said() -> None:
    with pytest.raises(RequestError, match="sha256"):
        judge("output", frame("output").drop(columns="sha256"))
    with pytest.raises(RequestError, match="translations"):
        judge_rows("nonsense", [], "x", max_bad_share=0.2)


def test_an_expectation_that_cannot_be_evaluated_is_an_error_and_no_verdict() -> None:
    with pytest.raises(SystemicError, match="size_bytes"):
        judge("output", frame("output", 2, size_bytes="large"))


def test_data_docs_are_one_page_that_loads_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path.as_uri())
    data = frame("translations", 25, numbers_missing=1, block_id="<script>alert(1)</script>")
    verdict = judge("translations", data, store=store, docs="gates/job/translations")
    assert verdict.docs is not None
    assert verdict.docs.key == "gates/job/translations/index.html"
    page = store.get(verdict.docs.key).decode()
    assert "A number of the source is missing." in page
    assert "25" in page
    for outside in ("<script", "http:", "https:", "<link", "<img", "@import", "../"):
        assert outside not in page, outside


def test_suites_name_a_reason_and_a_sentence_and_great_expectations_reads_them_as_they_are() -> None:
    import json

    import great_expectations as gx

    for suite in SUITES:
        content = json.loads((suites_folder() / f"{suite}.json").read_text())
        assert len(gx.ExpectationSuite(**content).expectations) == len(rules(suite))
        assert all(r.reason.isidentifier() and r.sentence.endswith(".") for r in rules(suite))
        assert set(columns(suite)) <= set(GOOD[suite])


def test_great_expectations_is_not_imported_with_the_package() -> None:
    import subprocess

    code = "import sys, tradu.quality.gates, tradu.quality.checks; print('great_expectations' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
