"""What a feeder makes of the report of a batch."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import cast

from distributed import Scheduler

from tradu.cluster.feed import Feeder, Group, Shard, _Item
from tradu.cluster.journal import Journal
from tradu.cluster.report import Report


def test_what_was_handed_on_block_by_block_is_fed_once() -> None:
    handed_on: list[tuple[int, str]] = []

    async def scenario() -> None:
        group = Group((0,), {})
        shard = Shard("job", 0, 1, "default", 0, (group,))
        feeder = Feeder(
            shard, cast("Scheduler", SimpleNamespace(workers={})), Counter(), Journal(),
            lambda _, batch, pool: handed_on.append((batch, pool)),
        )  # fmt: skip
        report = Report(1, seconds=1.0, handed_on=((1_000, "gpu"), (2_000, "dear"), (1_000, "gpu")))
        came = asyncio.create_task(asyncio.sleep(0, (report, 1.0)))
        await came
        feeder._came_back(_Item(0, group), came)

    asyncio.run(scenario())
    assert handed_on == [(1_000, "gpu"), (2_000, "dear")]
