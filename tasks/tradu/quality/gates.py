"""The gates between stages: a Great Expectations suite judges rows chunk by chunk and says whether the run goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tradu.errors import RequestError
from tradu.quality.rules import columns, rules
from tradu.quality.tally import RuleTotal, Tally

if TYPE_CHECKING:
    import pandas as pd

    from tradu.store import Store, StoredObject

CHUNK_ROWS = 20_000
"""Rows that Great Expectations sees at once: its results name every bad row of a chunk."""
MAX_BAD_KEYS = 100_000
"""A gate that has found this many bad keys stops, whatever their share: they would fill its memory."""
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says about the rows it saw."""

    rows: int
    bad: dict[str, tuple[str, ...]] = field(repr=False)
    """Key of each bad row, with the reasons; several rows of one key are put together."""
    bad_share: float
    """Bad rows by rows, 0 to 1."""
    stopped: bool
    """Whether the run must stop here. Otherwise it goes on without the bad rows."""
    message: str
    """What was found and what to do."""
    docs: StoredObject | None = None
    """The Data Docs' page in the store."""


def judge_rows(
    suite: str,
    frames: Iterable[pd.DataFrame],
    key: str,
    *,
    store: Store | None = None,
    docs: str | None = None,
    max_bad_share: float,
    minimum_rows: int = 20,
) -> Verdict:
    """Judge rows by a suite of include/expectations, holding one chunk and the bad keys in memory.

    Row rules (`tradu.quality.rules.ROW_TYPES`) give the bad rows. Every other expectation judges the batch as a whole,
    at the end, on the columns it names. The run is to stop when one of those fails, or when more than `max_bad_share`
    of at least `minimum_rows` rows are bad. With `store` and `docs`, a key prefix such as `gates/<job>/<gate>`, the
    Data Docs are written there as one self-contained page.

    Raises:
        RequestError: there is no such suite, or a frame lacks a column that the suite looks at.
        SystemicError: Great Expectations could not evaluate an expectation.
    """
    tally, complete = _judge(suite, frames, key)
    stopped, message = _decide(suite, tally, complete, max_bad_share, minimum_rows)
    verdict = Verdict(tally.rows, tally.bad, tally.bad_share, stopped, message)
    if store is None or docs is None:
        return verdict
    from tradu.quality.datadocs import write_page

    return replace(verdict, docs=write_page(store, docs, suite, tally, stopped, message))


def _judge(suite: str, frames: Iterable[pd.DataFrame], key: str) -> tuple[Tally, bool]:
    """The totals, and whether all rows were looked at."""
    import pandas as pd

    from tradu.quality.validator import Validator

    row_rules = [r for r in rules(suite) if r.is_row_rule]
    batch_rules = [r for r in rules(suite) if not r.is_row_rule]
    batch_columns = list(dict.fromkeys(r.column for r in batch_rules if r.column))
    validator, tally, kept = Validator(suite), Tally(key), []
    for chunk in _chunks(frames):
        _check_columns(suite, key, chunk)
        tally.add(chunk, row_rules, validator.validate(chunk, row_rules))
        kept.append(chunk[batch_columns])
        if len(tally.bad) >= MAX_BAD_KEYS:
            return tally, False
    whole = pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=batch_columns)
    tally.add_batch(whole, batch_rules, validator.validate(whole, batch_rules))
    return tally, True


def _chunks(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The rows in frames of at most CHUNK_ROWS: large ones cut, small ones put together (each costs 0.1 s)."""
    import pandas as pd

    waiting: list[pd.DataFrame] = []
    for frame in frames:
        for start in range(0, len(frame), CHUNK_ROWS):
            part = frame.iloc[start : start + CHUNK_ROWS]
            if sum(map(len, waiting)) + len(part) > CHUNK_ROWS:
                yield pd.concat(waiting, ignore_index=True)
                waiting = []
            waiting.append(part)
    if waiting:
        yield pd.concat(waiting, ignore_index=True)


def _check_columns(suite: str, key: str, chunk: pd.DataFrame) -> None:
    missing = sorted({*columns(suite), key} - set(chunk.columns))
    if missing:
        raise RequestError(f"the gate {suite!r} needs the columns {', '.join(missing)}, which its rows do not have")


def _decide(suite: str, tally: Tally, complete: bool, max_bad_share: float, minimum_rows: int) -> tuple[bool, str]:
    """Whether the run stops, and what to say."""
    found = _found(suite, tally)
    broken = tally.failed_batch_rules()
    if broken:
        said = " ".join(_batch_message(total) for total in broken)
        return True, f"{found} Stopped: {said}"
    if not complete:
        return (
            True,
            f"{found} Stopped early: {len(tally.bad):,} bad rows are the most a gate lists. {_advice(tally)}",
        )
    if tally.rows >= minimum_rows and tally.bad_share > max_bad_share:
        return True, (
            f"{found} Stopped: at most {max_bad_share:.1%} may be bad (TRADU_MAX_BAD_SHARE). {_advice(tally)}"
        )
    if tally.bad:
        return False, f"{found} They are quarantined, the rest goes on."
    return False, found


def _found(suite: str, tally: Tally) -> str:
    if not tally.bad_rows:
        return f"Gate {suite}: {tally.rows:,} rows, none bad."
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in tally.reasons.most_common())
    examples = ", ".join(list(tally.bad)[:_EXAMPLES])
    return (
        f"Gate {suite}: {tally.bad_rows:,} of {tally.rows:,} rows bad ({tally.bad_share:.1%}): {reasons};"
        f" for example {examples}."
    )


def _batch_message(total: RuleTotal) -> str:
    rule = total.rule
    where = f" ({total.bad:,} rows: {', '.join(k for k, _ in total.examples[:_EXAMPLES])})" if total.bad else ""
    return f"{rule.sentence} [{rule.type}{' on ' + rule.column if rule.column else ''}]{where}"


def _advice(tally: Tally) -> str:
    """What the most frequent fault means, and where to go on."""
    worst = max((t for t in tally.totals.values() if t.rule.is_row_rule), key=lambda t: t.bad)
    return f"Most frequent: {worst.rule.sentence} Look at the Data Docs of the task, mend the cause, and retry the job."
