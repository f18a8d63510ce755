"""What the gates look at: one pandas frame after another, each of bounded size, read from ledger and store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tradu import layout, tables
from tradu.ledger import ids, objects
from tradu.ledger.connection import Ledger
from tradu.ledger.rows import Document, Job, Output
from tradu.ledger.states import DocumentState
from tradu.store import Store

BATCHES_PER_FRAME = 64
_TEXTS = ("source", "translation")


def documents(job_id: UUID, ledger: Ledger) -> Iterator[pd.DataFrame]:
    """What came in: one row per document of the job, judged before or not, less what was replaced."""
    with ledger.transaction() as tx:
        rows = [d for d in tx.rows("documents", Document, job_id=job_id) if d.state != DocumentState.CANCELED]
    if rows:
        frame = pd.DataFrame([asdict(d) for d in rows])
        frame["name"] = [d.paths[0] for d in rows]
        frame["language"] = frame["source"]
        yield frame


def blocks(job_id: UUID, ledger: Ledger, store: Store) -> Iterator[pd.DataFrame]:
    """What partition made: one row per block, a part at a time.

    The ledger says which parts those are: in the store there may be others, of an earlier cut.

    Raises:
        FileNotFoundError: the index of a part is lost.
    """
    for stored in objects.of_job(ledger, job_id):
        if not layout.is_index(stored.key):
            continue
        frame = tables.read(store, stored.key).to_pandas()
        frame["place"] = frame["document_id"] + "/" + frame["number"].astype(str)
        yield frame


def blocks_of_place(job: Job, place: str) -> list[UUID]:
    """The blocks of one place in a document (`<document>/<number>`): one per target language."""
    document_id, number = place.split("/")
    return [ids.block_id(job.job_id, document_id, target, int(number)) for target in job.targets]


def translations(job_id: UUID, ledger: Ledger, store: Store) -> Iterator[pd.DataFrame]:
    """What infer made: one row per segment with its check columns, without the texts."""
    with ledger.transaction() as tx:
        batches = [b for (b,) in tx.tuples("batches_to_judge", job_id=job_id)]
    for start in range(0, len(batches), BATCHES_PER_FRAME):
        with ledger.transaction() as tx:
            chunk = batches[start : start + BATCHES_PER_FRAME]
            results = tx.tuples("results_of_batches", job_id=job_id, batches=chunk)
        current = [_current(store, key, set(blocks)) for key, blocks in results]
        frame = pa.concat_tables(current, promote_options="permissive").to_pandas()
        frame["segment_number"] = range(len(frame))
        yield frame


def _current(store: Store, key: str, blocks: set[str]) -> pa.Table:
    """The rows of a results object whose blocks still point at it."""
    table = tables.read(store, key, without=_TEXTS)
    return table.filter(pc.is_in(table["block_id"], value_set=pa.array(sorted(blocks))))


def outputs(job_id: UUID, ledger: Ledger) -> Iterator[pd.DataFrame]:
    """What assemble made: one row per document and language that is not delivered yet."""
    with ledger.transaction() as tx:
        waiting = {d.document_id for d in tx.rows("documents", Document, job_id=job_id) if d.state == "ASSEMBLING"}
        rows = [o for o in tx.rows("outputs", Output, job_id=job_id) if o.document_id in waiting and o.refused is None]
    if rows:
        frame = pd.DataFrame([asdict(o) for o in rows])
        frame["output_id"] = [f"{o.document_id}/{o.target}" for o in rows]
        frame["units_lost"] = frame["units_in"] - frame["units_out"]
        yield frame
