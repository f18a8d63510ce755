"""Years of work in a ledger, made by PostgreSQL itself: rows as the line leaves them, loaded by the million."""

from __future__ import annotations

from uuid import UUID

import psycopg

from fixtures.ledger import DOCUMENT, MODEL
from tradu.ledger import ids
from tradu.ledger.partitions import Month

BLOCKS_OF_JOB = 10_000
_JOBS = """
INSERT INTO jobs (job_id, idempotency_key, request_id, state, source, targets, profile, documents, created_at,
                  started_at, finished_at)
SELECT job_id, job_id::text, 'r1', 'COMPLETED', 'en', '{pt}', 'balanced', '{x}', at, at, at FROM new_jobs
"""
_DOCUMENTS = """
INSERT INTO documents (job_id, document_id, paths, origin, format, source, size_bytes, segments, characters, state)
SELECT job_id, %(document)s, '{a.txt}', 'file:///a.txt', 'text', 'en', 0, %(blocks)s, 25 * %(blocks)s, 'COMPLETED'
FROM new_jobs
"""
_BLOCKS = """
INSERT INTO {table} (job_id, block_id, document_id, target, number, batch, segments, characters, state, attempt, token,
                     claimed_by, processing_at, validating_at, result, models, tier, score, seconds, cost, updated_at)
SELECT job_id, {block_id}, %(document)s, 'pt', n, n / 100, 1, 25, 'COMPLETED', 1, n, 'worker', at, at,
       'results/' || job_id || '/' || n / 100, ARRAY[%(model)s], 'economy', 0.9, 0.1, 0.1, at
FROM new_jobs, generate_series(0, %(blocks)s - 1) AS n
"""
_HISTORY = """
INSERT INTO {table} (job_id, entity, entity_id, at, from_state, to_state, actor, attempt, request_id)
SELECT job_id, 'block', {block_id}, at, 'VALIDATING', 'COMPLETED', 'worker', 1, 'r1'
FROM new_jobs, generate_series(0, %(blocks)s - 1) AS n
"""
_BLOCK_ID = """(left(replace(job_id::text, '-', ''), 12) || '8' || left(md5(job_id::text || n), 3) || '8'
                || right(md5(job_id::text || n), 15))::uuid"""


def load(dsn: str, month: Month, blocks: int) -> list[UUID]:
    """Jobs of a month that had none, of 10,000 blocks each, all done; a row of history for each block."""
    jobs = [ids.new_job_id(month.first, number.to_bytes(10, "big")) for number in range(blocks // BLOCKS_OF_JOB)]
    suffix = f"{month.year:04d}_{month.month:02d}"
    values = {"document": DOCUMENT, "model": MODEL, "blocks": BLOCKS_OF_JOB}
    with psycopg.connect(dsn) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")  # no triggers
        connection.execute("CREATE TEMP TABLE new_jobs (job_id uuid, at timestamptz) ON COMMIT DROP")
        connection.execute("INSERT INTO new_jobs SELECT unnest(%s::uuid[]), %s", (jobs, month.first))
        for table, query in (("blocks", _BLOCKS), ("history", _HISTORY)):  # indexes are built when they are attached
            name = f"{table}_{suffix}"
            connection.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS)".encode())
            connection.execute(query.format(table=name, block_id=_BLOCK_ID).encode(), values)
        connection.execute("SELECT ensure_partitions(%s)", (month.first,))
        connection.execute(_JOBS)
        connection.execute(_DOCUMENTS, values)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return jobs
