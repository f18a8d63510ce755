"""Where everything lies in the store, and the Arrow schema of each kind of object."""

from __future__ import annotations

from uuid import UUID

import pyarrow as pa

SEGMENTS = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("block", pa.int32(), nullable=False),  # number of the block in its document
        pa.field("unit", pa.int64(), nullable=False),  # number of the unit in its document
        pa.field("lead", pa.string(), nullable=False),  # text of the unit before the segment, not translated
        pa.field("source", pa.string(), nullable=False),  # inline codes numbered from 0
        pa.field("trail", pa.string(), nullable=False),  # text of the unit after its last segment
        pa.field("code_offset", pa.int32(), nullable=False),  # number in the unit of the segment's code 0
    ]
)
"""One row per segment, in document order; one row group per batch of source text, shared by all target languages."""


JOB_PREFIXES = ("raw", "blocks", "results", "gates", "output")
"""Where the objects of jobs lie."""
INCOMING = "raw/incoming/"
"""Bytes on their way in, before their checksum is known."""


def is_result(key: str) -> bool:
    """Whether a key is that of the results of an attempt at a batch."""
    return key.startswith("results/") and key.count("/") == 2


def raw_key(document_id: str) -> str:
    """The bytes of a document as they came in."""
    return f"raw/{document_id[:2]}/{document_id}"


def parts_prefix(job_id: UUID) -> str:
    """All parts of a job and their indexes."""
    return f"blocks/{job_id}"


def part_key(job_id: UUID, part: int) -> str:
    """Segments of a job."""
    return f"{parts_prefix(job_id)}/part-{part:05d}.parquet"


def index_key(job_id: UUID, part: int) -> str:
    """One row per block of a part, with what the blocks gate judges."""
    return f"{parts_prefix(job_id)}/index-{part:05d}.parquet"


def is_index(key: str) -> bool:
    """Whether a key of a job is that of a part's index."""
    return key.startswith("blocks/") and "/index-" in key


def result_key(job_id: UUID, batch: int, token: int) -> str:
    """Results of one attempt at a batch; the token makes every attempt's object its own."""
    return f"{results_prefix(job_id)}/{batch:07d}-{token}.parquet"


def results_prefix(job_id: UUID) -> str:
    """Below which results of all attempts of a job lie, and its documents before they are let out."""
    return f"results/{job_id}"


def staging_key(job_id: UUID, target: str, document_id: str) -> str:
    """A translated document before the gate lets it out."""
    return f"results/{job_id}/staging/{target}/{document_id}"


def provenance_key(job_id: UUID, target: str, document_id: str) -> str:
    """Which model, version, tier and run made each segment of a translated document."""
    return f"output/{job_id}/provenance/{target}/{document_id}.parquet"


def output_key(job_id: UUID, target: str, path: str) -> str:
    """A translated document."""
    return f"output/{job_id}/{target}/{path}"


def nameless(key: str) -> str:
    """The key without what a document is called, for what nobody can mend: of an output, its folder."""
    parts = key.split("/")
    is_output = parts[0] == "output" and len(parts) > 3 and parts[2] != "provenance"
    return "/".join(parts[:3]) if is_output else key


def manifest_key(job_id: UUID) -> str:
    """The manifest of a job's output: written last, so output is whole where it exists."""
    return f"output/{job_id}/manifest.json"


def rows_key(job_id: UUID) -> str:
    """What the ledger had of a job when it was delivered."""
    return f"output/{job_id}/ledger.arrows"


def report_key(job_id: UUID) -> str:
    """The side report: what was not translated, and why."""
    return f"output/{job_id}/untranslated.jsonl"


def hot_prefixes(job_id: UUID) -> list[str]:
    """Below which a job has objects of its own while the line works with it."""
    return [f"{prefix}/{job_id}" for prefix in JOB_PREFIXES if prefix != "raw"]


def is_of_job(key: str, job_id: UUID) -> bool:
    """Whether an object is one of a job's own."""
    return key.startswith(tuple(f"{prefix}/" for prefix in hot_prefixes(job_id)))


def archive_prefix(job_id: UUID) -> str:
    """Below which the archive of a job lies."""
    return f"cold/{job_id}"


def pack_key(job_id: UUID, number: int) -> str:
    """Objects and ledger rows of an archived job, packed."""
    return f"{archive_prefix(job_id)}/pack-{number:05d}.parquet"


def archive_key(job_id: UUID) -> str:
    """The manifest of an archive: written last, so an archive is whole where it exists."""
    return f"{archive_prefix(job_id)}/manifest.json"
