"""What the tasks of a run do when they fail: wait for a store or a ledger that is away, and try nothing in vain."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import RetryDecision, RetryPolicy

if TYPE_CHECKING:
    from airflow.sdk import Context

RETRIES = 20
"""With the delays below some nine minutes."""
TRIES = 3
"""Of what has another cause than the line itself."""
FIRST_SECONDS, GROWTH, MOST_SECONDS = 5, 1.5, 30


class Patience(RetryPolicy):
    """A fault of the line (store, ledger or cluster away) is waited for; one of the data or the request is not tried
    again, and any other one twice.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Whether and when a task that failed is tried again. A task that was cleared begins anew."""
        from tradu.cluster.batch import class_of
        from tradu.errors import ErrorClass, TransientError
        from tradu.settings import get_settings
        from tradu.store import Store

        tried = try_number + RETRIES - max_tries
        kind = class_of(exception, Store(get_settings().store))
        # an object that is missing may have been so with a store that is back by now
        if kind is ErrorClass.DATA and not isinstance(exception, FileNotFoundError):
            return RetryDecision.fail("the fault lies in the data or the request")
        if kind is ErrorClass.SYSTEMIC or isinstance(exception, TransientError):
            seconds = min(MOST_SECONDS, FIRST_SECONDS * GROWTH ** (tried - 1))
            return RetryDecision.retry(timedelta(seconds=seconds), "the fault lies in the line: it is waited for")
        return RetryDecision.retry() if tried < TRIES else RetryDecision.fail(f"it was tried {TRIES} times")


PATIENT: dict[str, Any] = {
    "retries": RETRIES,
    "retry_delay": timedelta(seconds=FIRST_SECONDS),
    "retry_policy": Patience(),
}
"""Default arguments of DAGs whose runs somebody waits for."""
