"""Years of work in a ledger, made by PostgreSQL itself: rows as the line leaves them, loaded by the million."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import psycopg

from fixtures.ledger import DOCUMENT, MODEL
from tradu.ledger import ids
from tradu.ledger.partitions import Month

BLOCKS_OF_JOB = 10_000
_JOB = """
INSERT INTO jobs (job_id, idempotency_key, request_id, state, source, targets, profile, documents, created_at,
                  started_at, finished_at)
VALUES (%(job)s, %(job)s::uuid::text, 'r1', 'COMPLETED', 'en', '{pt}', 'balanced', '{x}', %(at)s, %(at)s, %(at)s)
"""
_DOCUMENT = """
INSERT INTO documents (job_id, document_id, paths, origin, format, source, size_bytes, segments, characters, state)
VALUES (%(job)s, %(document)s, '{a.txt}', 'file:///a.txt', 'text', 'en', 0, %(blocks)s, 25 * %(blocks)s, 'COMPLETED')
"""
_BLOCKS = """
INSERT INTO {table} (job_id, block_id, document_id, target, number, batch, segments, characters, state, attempt, token,
                     claimed_by, processing_at, validating_at, result, models, tier, score, seconds, cost, updated_at)
SELECT job, {block_id}, %(document)s, 'pt', n, n / 100, 1, 25, 'COMPLETED', 1, n, 'worker', %(at)s, %(at)s,
       'results/' || job || '/' || n / 100, ARRAY[%(model)s], 'economy', 0.9, 0.1, 0.1, %(at)s
FROM CAST(%(job)s AS uuid) AS job, generate_series(0, %(blocks)s - 1) AS n
"""
_HISTORY = """
INSERT INTO {table} (job_id, entity, entity_id, at, from_state, to_state, actor, attempt, request_id)
SELECT job, 'block', {block_id}, %(at)s, 'VALIDATING', 'COMPLETED', 'worker', 1, 'r1'
FROM CAST(%(job)s AS uuid) AS job, generate_series(0, %(blocks)s - 1) AS n
"""
_BLOCK_ID = """(left(replace(job::text, '-', ''), 12) || '8' || left(md5(job::text || n), 3) || '8'
                || right(md5(job::text || n), 15))::uuid"""


def load(dsn: str, month: Month, blocks: int, each: int = BLOCKS_OF_JOB) -> list[UUID]:
    """Jobs of a month that had none, of `each` blocks, all done; a row of history for each block.

    As on the line, every job has a time of its own (a block is found by the time that it shares with its job), and its
    rows lie together.
    """
    times = [month.first + timedelta(minutes=number) for number in range(blocks // each)]
    jobs = {ids.new_job_id(at, number.to_bytes(10, "big")): at for number, at in enumerate(times)}
    suffix = f"{month.year:04d}_{month.month:02d}"
    with psycopg.connect(dsn) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")  # no triggers
        for table in ("blocks", "history"):  # indexes are built when they are attached
            connection.execute(f"CREATE TABLE {table}_{suffix} (LIKE {table} INCLUDING DEFAULTS)".encode())
        filled = [
            query.format(table=f"{table}_{suffix}", block_id=_BLOCK_ID).encode()
            for table, query in (("blocks", _BLOCKS), ("history", _HISTORY))
        ]
        for job, at in jobs.items():
            for query in filled:
                connection.execute(query, {"job": job, "at": at, "blocks": each, "document": DOCUMENT, "model": MODEL})
        connection.execute("SELECT ensure_partitions(%s)", (month.first,))
        for job, at in jobs.items():
            for query in (_JOB, _DOCUMENT):
                connection.execute(query, {"job": job, "at": at, "blocks": each, "document": DOCUMENT})
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return list(jobs)
