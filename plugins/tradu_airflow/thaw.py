"""Waits for archives in Glacier: an operator that asks for them, and a trigger that looks at them now and then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

if TYPE_CHECKING:
    from airflow.sdk import Context

THAW_SECONDS = 60.0


class ThawTrigger(BaseTrigger):
    """Waits until archives that were asked for can be read, and then ends its task.

    Glacier takes hours: one look a minute at the objects' headers, in a thread.
    """

    def __init__(self, jobs: list[str]) -> None:
        super().__init__()
        self.jobs = jobs

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Import path and arguments."""
        return "tradu_airflow.thaw.ThawTrigger", {"jobs": self.jobs}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event: success, or a reason to ask again."""
        from tradu.archival import run

        left = self.jobs
        while True:
            await asyncio.sleep(THAW_SECONDS)  # first: the scheduler may still hold the first pass's exit
            try:
                left = await asyncio.to_thread(run.asleep, left)
            except Exception as error:
                yield TriggerEvent({"why": f"the archives can't be looked at: {error}"})
                return
            if not left:
                yield TaskSuccessEvent()
                return


class ThawOperator(BaseOperator):
    """Asks for archives that lie in Glacier, and waits for them without a slot; done at once where there are none.

    Args:
        jobs: ids of archived jobs.
    """

    template_fields: Sequence[str] = ("jobs",)

    def __init__(self, *, jobs: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.jobs = jobs

    def execute(self, context: Context) -> None:
        """Ask, and wait where that takes time."""
        from tradu.archival import run

        if waiting := run.wake(list(self.jobs)):
            self.log.info("%d archives were asked for", len(waiting))
            self.defer(trigger=ThawTrigger(jobs=waiting), method_name="resume")

    def resume(self, context: Context, event: dict[str, Any]) -> None:
        """The trigger could not go on: ask again."""
        self.log.warning("%s", event["why"])
        self.execute(context)
