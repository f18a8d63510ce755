"""A store that is away while a stage works is the system's fault, and no document pays for it."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from fixtures.line import Line
from tradu import layout, line
from tradu.errors import SystemicError

LETTER = "The library opens at nine in the morning.\n"


def test_ingest_blames_no_document(the_line: Line) -> None:
    the_line.put({"a.txt": LETTER})
    job = the_line.admit(source="en")
    store = Path(the_line.store.root)
    hidden = store.rename(store.with_name("away"))
    with pytest.raises(SystemicError, match="is away"):
        line.ingest(job)
    assert the_line.documents(job) == {}
    hidden.rename(store)
    the_line.infer(job, the_line.prepare(job))
    assert the_line.deliver(job) == "COMPLETED"


def test_publish_lets_nothing_out_that_is_not_there(the_line: Line) -> None:
    the_line.put({"a.txt": LETTER})
    job = the_line.admit(source="en")
    the_line.infer(job, the_line.prepare(job))
    line.gate_translations(job)
    line.assemble(job)
    line.gate_output(job)
    (document,) = the_line.documents(job).values()
    staged = Path(the_line.store.path(layout.staging_key(UUID(job), "pt", document.document_id)))
    hidden = staged.rename(staged.with_name("away"))
    with pytest.raises(SystemicError, match="has neither"):
        line.publish(job)
    assert the_line.job(job).state == "RUNNING"
    hidden.rename(staged)
    assert line.publish(job).state == "COMPLETED"
    assert b"biblioteca" in the_line.output(job, "a.txt")
