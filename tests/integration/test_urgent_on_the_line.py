"""An urgent job goes before the batches of another that wait already: on a real cluster."""

from __future__ import annotations

from uuid import UUID

import pytest

from fixtures.line import Line
from tradu.cluster import dispatch
from tradu.settings import get_settings

LARGE = "".join(f"Sentence number {n} of the large report is like the others.\n\n" for n in range(4_000))
SMALL = "Please read this at once.\n\nThe water rises.\n"
pytestmark = pytest.mark.timeout(180)


def test_an_urgent_job_overtakes(the_line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADU_BATCH_CHARS", "2000")
    the_line.put({"large.txt": LARGE})
    large = the_line.admit("large", source="en")
    shards = the_line.prepare(large)
    (the_line.folder / "landing" / "large.txt").unlink()
    the_line.put({"small.txt": SMALL})
    urgent = the_line.admit("urgent", source="en", priority=9)
    urgent_shards = the_line.prepare(urgent)
    for shard in shards:
        dispatch.submit(UUID(large), shard, the_line.ledger, get_settings())
    the_line.infer(urgent, urgent_shards)
    the_line.infer(large, shards)
    with the_line.ledger.transaction() as tx:
        ((behind,),) = tx.connection.execute(
            "SELECT count(DISTINCT b.batch) FROM blocks b WHERE b.job_id = %s AND b.validating_at > "
            "(SELECT max(validating_at) FROM blocks WHERE job_id = %s)",
            (large, urgent),
        ).fetchall()
    assert behind > 100, "the large job was asked for first, and most of it waited all the same"
