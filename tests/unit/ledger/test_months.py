"""Months, and the ids that begin them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from tradu.ledger import ids
from tradu.ledger.partitions import Month, ahead

moments = st.datetimes(
    datetime(1971, 1, 2), datetime(2999, 1, 1), timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5))])
)


@given(moments, st.integers(0, 400))
def test_months_follow_one_another_without_a_gap(moment: datetime, months: int) -> None:
    month = Month.of(moment)
    assert month.first <= moment < month.plus(1).first
    assert month.plus(months).plus(1) == month.plus(months + 1)
    assert Month.of(month.plus(months).first) == month.plus(months)
    assert Month.of_suffix(str(month).replace("-", "_")) == month
    assert ahead(moment)[0] == month


@given(moments, st.binary(min_size=10, max_size=10))
def test_a_job_lies_in_the_range_of_its_month(moment: datetime, randomness: bytes) -> None:
    month, job = Month.of(moment), ids.new_job_id(moment, randomness)
    assert ids.first_of(month.first) <= job < ids.first_of(month.plus(1).first)
