-- Every query of the ledger, under a name. `-- name: what it does`.

-- admit_job: a new job, or nothing where the tenant has used the key before.
INSERT INTO jobs (job_id, tenant, region, idempotency_key, request_id, run_id, state, source, targets, profile, documents, options,
                  max_cost, priority, reason)
VALUES (%(job_id)s, %(tenant)s, %(region)s, %(idempotency_key)s, %(request_id)s, %(run_id)s, %(state)s, %(source)s,
        %(targets)s, %(profile)s, %(documents)s, %(options)s, %(max_cost)s, %(priority)s, %(reason)s)
ON CONFLICT (tenant, idempotency_key) DO NOTHING
RETURNING job_id;

-- lock_admission: turns are taken one at a time.
SELECT is_full FROM admission FOR UPDATE;

-- admission_reason: why jobs wait; empty where none does.
SELECT reason FROM admission;

-- note_admission: whether the line is full, and why jobs wait.
UPDATE admission SET is_full = %(is_full)s, reason = %(reason)s, changed_at = now()
WHERE (is_full, reason) IS DISTINCT FROM (%(is_full)s, %(reason)s);

-- pressure: whether the line is full, the usual size of a job (the mean of the last hundred), characters a second.
SELECT is_full,
       (SELECT avg(characters) FROM (SELECT characters FROM jobs WHERE characters IS NOT NULL ORDER BY created_at DESC LIMIT 100) AS j),
       (SELECT sum(characters) / 600.0 FROM throughput WHERE minute >= now() - interval '10 minutes')
FROM admission;

-- let_in_jobs: what has been let in, with the characters that want a translation; of a large job not more than so many
-- blocks are counted: it fills the line by itself.
SELECT j.tenant, j.region, j.characters IS NOT NULL AS measured,
       coalesce((SELECT sum(k.characters) FROM (
           SELECT characters FROM blocks b WHERE b.job_id = j.job_id AND b.state IN ('PENDING', 'CLAIMED', 'PROCESSING') LIMIT 100000
       ) AS k), 0)::bigint AS open_characters
FROM jobs j WHERE j.state IN ('ADMITTED', 'RUNNING');

-- deferred_jobs: jobs that wait for their turn.
SELECT job_id, tenant, region, priority, created_at FROM jobs WHERE state = 'DEFERRED';

-- still_deferred: which of these jobs wait.
SELECT job_id FROM jobs WHERE job_id = ANY(%(job_ids)s) AND state = 'DEFERRED';

-- served: what was let in during the last hour, for whom.
SELECT tenant, region, characters FROM jobs WHERE started_at > now() - interval '1 hour';

-- let_in: jobs whose turn it is.
UPDATE jobs SET state = 'ADMITTED', reason = NULL WHERE job_id = ANY(%(job_ids)s) AND state = 'DEFERRED';

-- start_let_in: they run; each has a DAG run that waits for that.
UPDATE jobs SET state = 'RUNNING', started_at = now() WHERE job_id = ANY(%(job_ids)s) AND state = 'ADMITTED';

-- measure_job: characters of a job, times its languages.
UPDATE jobs SET characters = (SELECT coalesce(sum(characters), 0) FROM blocks WHERE job_id = %(job_id)s) WHERE job_id = %(job_id)s;

-- set_budget: what a job may cost.
UPDATE jobs SET max_cost = %(max_cost)s WHERE job_id = %(job_id)s AND max_cost IS DISTINCT FROM %(max_cost)s;

-- job_of_key: the job a tenant's key names.
SELECT * FROM jobs WHERE tenant = %(tenant)s AND idempotency_key = %(idempotency_key)s;

-- job: one job.
SELECT * FROM jobs WHERE job_id = %(job_id)s;

-- jobs: the newest jobs.
SELECT * FROM jobs ORDER BY created_at DESC LIMIT %(limit)s;

-- find_jobs: jobs whose id begins or ends like this, enough to see that there are several.
SELECT * FROM jobs WHERE job_id::text LIKE %(begins)s OR job_id::text LIKE %(ends)s ORDER BY created_at DESC LIMIT 5;

-- start_job: ADMITTED, PARTIAL or ERROR to RUNNING, under the DAG run that now works on it.
UPDATE jobs SET state = 'RUNNING', run_id = %(run_id)s, request_id = %(request_id)s, reason = NULL, stopped_by = NULL,
       dropped_at = NULL, started_at = coalesce(started_at, now()), finished_at = NULL
WHERE job_id = %(job_id)s AND state IN ('ADMITTED', 'PARTIAL', 'ERROR') AND residence = 'hot'
RETURNING job_id;

-- defer_job: a job that ended before its turn had come waits for it again.
UPDATE jobs SET state = 'DEFERRED', run_id = %(run_id)s, request_id = %(request_id)s, reason = %(reason)s, finished_at = NULL
WHERE job_id = %(job_id)s AND state = 'ERROR' AND started_at IS NULL AND residence = 'hot';

-- adopt_job: a job that still runs, or waits for its turn, goes on under another DAG run.
UPDATE jobs SET run_id = %(run_id)s WHERE job_id = %(job_id)s AND state IN ('DEFERRED', 'RUNNING');

-- end_job: to an end state, with the reason; not an error when it has ended already.
UPDATE jobs SET state = %(state)s, reason = %(reason)s, finished_at = now()
WHERE job_id = %(job_id)s AND state IN ('DEFERRED', 'ADMITTED', 'RUNNING')
RETURNING job_id;

-- set_estimate: what the job is expected to cost.
UPDATE jobs SET cost_estimate = %(cost)s WHERE job_id = %(job_id)s;

-- is_cut: whether partition has written blocks of a job.
SELECT EXISTS (SELECT FROM blocks WHERE job_id = %(job_id)s);

-- register_document: a document of a job; a second registration adds nothing.
INSERT INTO documents (job_id, document_id, paths, origin, format, source, language_confidence, size_bytes, state, error)
VALUES (%(job_id)s, %(document_id)s, %(paths)s, %(origin)s, %(format)s, %(source)s, %(language_confidence)s, %(size_bytes)s,
        'REGISTERED', %(error)s)
ON CONFLICT (job_id, document_id) DO UPDATE
SET paths = (SELECT array_agg(DISTINCT p ORDER BY p) FROM unnest(documents.paths || excluded.paths) AS p);

-- hand_over_paths: takes from documents the paths that are another one's now, as long as they keep one.
UPDATE documents d SET paths = kept.paths
FROM (SELECT k.document_id, array_agg(p ORDER BY p) AS paths FROM documents k CROSS JOIN unnest(k.paths) AS p
      WHERE k.job_id = %(job_id)s AND k.state = 'REGISTERED' AND NOT EXISTS (
          SELECT FROM unnest(%(paths)s::text[], %(owners)s::text[]) AS now (path, owner)
          WHERE now.path = p AND now.owner <> k.document_id)
      GROUP BY k.document_id) AS kept
WHERE d.job_id = %(job_id)s AND d.document_id = kept.document_id AND d.paths <> kept.paths;

-- replace_documents: what was registered of files that are others now, or were bad and are gone. A good one whose file is
-- gone, or can't be read any more, stays: its bytes are in the store.
UPDATE documents SET state = 'CANCELED', reason = %(reason)s, updated_at = now()
WHERE job_id = %(job_id)s AND state = 'REGISTERED' AND document_id <> ALL(%(met)s)
  AND (error IS NOT NULL OR paths[1] = ANY(%(paths)s));

-- forget_replaced: a document that was replaced, and is back, is registered anew.
DELETE FROM documents WHERE job_id = %(job_id)s AND document_id = ANY(%(document_ids)s) AND state = 'CANCELED';

-- documents: the documents of a job, in a fixed order.
SELECT * FROM documents WHERE job_id = %(job_id)s ORDER BY paths[1], document_id;

-- move_documents: documents of a job from some states to another.
UPDATE documents SET state = %(state)s, updated_at = now()
WHERE job_id = %(job_id)s AND state = ANY(%(from_states)s);

-- end_document: one document to an end state, with the reason.
UPDATE documents SET state = %(state)s, reason = %(reason)s, updated_at = now()
WHERE job_id = %(job_id)s AND document_id = %(document_id)s AND state NOT IN ('COMPLETED', 'PARTIAL', 'ERROR', 'CANCELED');

-- explain_document: why a document has ended, in full: what is no change of state is not in the history.
UPDATE documents SET reason = %(reason)s WHERE job_id = %(job_id)s AND document_id = %(document_id)s;

-- measure_document: what partition counted.
UPDATE documents SET segments = %(segments)s, characters = %(characters)s
WHERE job_id = %(job_id)s AND document_id = %(document_id)s;

-- settled_documents: which of these documents a job of the same profile and languages has settled: well or not, because
-- a person had it cancelled or dropped, or because it waits for a person's decision. Not one that was replaced before the
-- job was cut: it is canceled, and the job is not.
SELECT DISTINCT d.document_id
FROM (SELECT job_id, document_id, state FROM documents UNION ALL SELECT job_id, document_id, state FROM archived_documents) d
JOIN jobs j USING (job_id)
WHERE d.document_id = ANY(%(document_ids)s)
  AND (d.state IN ('COMPLETED', 'PARTIAL', 'ERROR') OR j.state = 'CANCELED'
       OR (d.state <> 'CANCELED' AND (j.stopped_by IS NOT NULL OR j.dropped_at IS NOT NULL)))
  AND j.tenant = %(tenant)s
  AND j.profile = %(profile)s AND j.source = %(source)s AND j.targets @> %(targets)s::text[];

-- went_on_without: whether the job of a key was cut after one of these documents had been replaced: it never does it.
SELECT EXISTS (
    SELECT FROM (SELECT job_id, document_id, state FROM documents
                 UNION ALL SELECT job_id, document_id, state FROM archived_documents) d
    JOIN jobs j USING (job_id)
    WHERE j.tenant = %(tenant)s AND j.idempotency_key = %(idempotency_key)s
      AND d.document_id = ANY(%(document_ids)s) AND d.state = 'CANCELED' AND j.state <> 'CANCELED'
      AND (j.state IN ('COMPLETED', 'PARTIAL') OR j.residence <> 'hot'
           OR EXISTS (SELECT FROM blocks b WHERE b.job_id = j.job_id)));

-- add_blocks: blocks from the temporary table; those that exist stay as they are.
INSERT INTO blocks (job_id, block_id, document_id, target, number, batch, segments, characters, state)
SELECT job_id, block_id, document_id, target, number, batch, segments, characters, 'PENDING' FROM new_blocks
ON CONFLICT DO NOTHING;

-- pass_blocks: blocks of the temporary table that need no translation.
UPDATE blocks SET state = 'COMPLETED', reason = 'already in the target language', updated_at = now()
FROM new_blocks n WHERE blocks.job_id = n.job_id AND blocks.block_id = n.block_id AND n.batch IS NULL AND blocks.state = 'PENDING';

-- is_untouched: whether nobody but partition has had a job's blocks: none is in a shard, was ever claimed, or has ended.
SELECT NOT EXISTS (SELECT FROM batches WHERE job_id = %(job_id)s AND shard IS NOT NULL)
   AND NOT EXISTS (SELECT FROM blocks WHERE job_id = %(job_id)s
                   AND (state NOT IN ('PENDING', 'COMPLETED') OR attempt > 0 OR token IS NOT NULL OR result IS NOT NULL));

-- forget_cut_blocks: the blocks of a job that is cut anew; their history stays.
DELETE FROM blocks WHERE job_id = %(job_id)s;

-- forget_cut_batches: the batches of a job that is cut anew.
DELETE FROM batches WHERE job_id = %(job_id)s;

-- forget_cut_parts: the parts of a job that is cut anew: written once more, or orphans.
DELETE FROM objects WHERE job_id = %(job_id)s AND starts_with(object_key, %(prefix)s);

-- add_batch: a batch; a second time adds nothing.
INSERT INTO batches (job_id, batch, source, target, part, row_group, characters)
VALUES (%(job_id)s, %(batch)s, %(source)s, %(target)s, %(part)s, %(row_group)s, %(characters)s)
ON CONFLICT DO NOTHING;

-- batches: every batch of a job with its size, in order; not those of blocks that wait for a tier, which are in them too.
SELECT batch, source, target, characters, shard FROM batches WHERE job_id = %(job_id)s AND tier = '' ORDER BY batch;

-- place_batches: gives batches their shards.
UPDATE batches SET shard = p.shard
FROM unnest(%(batches)s::int[], %(shards)s::int[]) AS p (batch, shard)
WHERE batches.job_id = %(job_id)s AND batches.batch = p.batch;

-- add_shards: the shards of a job; a second time adds nothing.
INSERT INTO shards (job_id, shard) SELECT %(job_id)s, generate_series(0, %(count)s - 1) ON CONFLICT DO NOTHING;

-- set_sharding: how many shards a job has, and why: decided once.
UPDATE jobs SET sharding = %(sharding)s WHERE job_id = %(job_id)s;

-- measured_paces: what each route has taken since yesterday (UTC), seconds per million characters; what did little says
-- nothing.
SELECT models, sum(seconds) * 1e6 / sum(characters) FROM spending WHERE day >= (now() AT TIME ZONE 'UTC')::date - 1
GROUP BY models HAVING sum(seconds) >= %(least_seconds)s AND sum(characters) > 0;

-- waiting_shards: shards with blocks that still want a translation.
SELECT DISTINCT b.shard FROM batches b JOIN blocks k USING (job_id, batch)
WHERE b.job_id = %(job_id)s AND k.state IN ('PENDING', 'CLAIMED', 'PROCESSING') ORDER BY 1;

-- work_to_come: what the jobs that run have to translate, by languages and profile, in bytes of documents.
SELECT d.source, t.target, j.profile, sum(d.size_bytes)::bigint AS size_bytes
FROM jobs j JOIN documents d USING (job_id) CROSS JOIN LATERAL unnest(j.targets) AS t (target)
WHERE j.state = 'RUNNING' AND d.state IN ('REGISTERED', 'PARTITIONED', 'TRANSLATING') AND d.source IS NOT NULL
GROUP BY d.source, t.target, j.profile;

-- waiting_batches: batches of a shard with blocks that still want a translation, and their languages and tier.
SELECT DISTINCT b.batch, b.source, b.target, b.tier FROM batches b JOIN blocks k USING (job_id, batch)
WHERE b.job_id = %(job_id)s AND b.shard = %(shard)s AND k.state IN ('PENDING', 'CLAIMED', 'PROCESSING') ORDER BY 1;

-- next_epoch: a new submission of a shard.
UPDATE shards SET epoch = epoch + 1, submitted_at = now() WHERE job_id = %(job_id)s AND shard = %(shard)s RETURNING epoch;

-- epoch: the newest submission of a shard.
SELECT epoch FROM shards WHERE job_id = %(job_id)s AND shard = %(shard)s;

-- watch_shards: for every shard a triggerer waits on: is its job running, blocks that wait, those that rest or are leased.
SELECT w.job_id, w.shard, j.state AS job_state, count(k.block_id) AS waiting,
       count(*) FILTER (WHERE k.lease_until > now() OR k.not_before > now()) AS leased
FROM unnest(%(job_ids)s::uuid[], %(shards)s::int[]) AS w (job_id, shard)
JOIN jobs j ON j.job_id = w.job_id
LEFT JOIN batches b ON b.job_id = w.job_id AND b.shard = w.shard
LEFT JOIN blocks k ON k.job_id = b.job_id AND k.batch = b.batch AND k.state IN ('PENDING', 'CLAIMED', 'PROCESSING')
GROUP BY w.job_id, w.shard, j.state;

-- batch: where a batch lies and what it is.
SELECT b.batch, b.source, b.target, b.part, b.row_group, b.characters, b.shard, j.profile, j.request_id, j.tenant, j.max_cost, b.tier
FROM batches b JOIN jobs j USING (job_id)
WHERE b.job_id = %(job_id)s AND b.batch = %(batch)s AND j.state = 'RUNNING';

-- claim: leases blocks of a batch that are free, or whose lease has run out; a fencing token for each. New blocks are
-- taken together, blocks that failed before one at a time: one that breaks its worker takes no other with it.
UPDATE blocks SET state = 'CLAIMED', attempt = attempt + 1, token = new_token(), claimed_by = actor(),
       lease_until = now() + make_interval(secs => %(lease_seconds)s), processing_at = NULL, validating_at = NULL, updated_at = now()
FROM (
    SELECT job_id, block_id FROM blocks
    WHERE job_id = %(job_id)s AND batch = %(batch)s
      AND CASE WHEN %(again)s THEN attempt BETWEEN 1 AND %(max_attempts)s - 1 ELSE attempt = 0 END
      AND (state = 'PENDING' AND coalesce(not_before <= now(), true)
           OR state IN ('CLAIMED', 'PROCESSING') AND lease_until < now())
      AND EXISTS (SELECT FROM jobs WHERE job_id = %(job_id)s AND state = 'RUNNING')
    ORDER BY block_id LIMIT CASE WHEN %(again)s THEN 1 END FOR UPDATE SKIP LOCKED
) AS free
WHERE blocks.job_id = free.job_id AND blocks.block_id = free.block_id
RETURNING blocks.block_id, blocks.document_id, blocks.number, blocks.token, blocks.attempt, blocks.profile, blocks.characters;

-- refill_buckets: the characters that may be claimed now under each limit, more since the last look, no more than a limit
-- lets through in `burst_seconds`. The rows stay locked until the claim has taken its part, by the database's clock.
INSERT INTO claim_buckets AS b (name, per_second, characters, refilled_at)
SELECT name, per_second, per_second * %(burst_seconds)s, clock_timestamp()
FROM unnest(%(names)s::text[], %(per_second)s::float8[]) AS u (name, per_second) ORDER BY name
ON CONFLICT (name) DO UPDATE SET per_second = excluded.per_second, refilled_at = greatest(b.refilled_at, clock_timestamp()),
    characters = least(excluded.per_second * %(burst_seconds)s,
                       b.characters + excluded.per_second * greatest(0, extract(epoch FROM clock_timestamp() - b.refilled_at)))
RETURNING name, per_second, characters;

-- take_from_buckets: what a claim took. A bucket may be emptied below nothing: then it has to fill up first.
UPDATE claim_buckets SET characters = characters - %(characters)s, claimed = claimed + %(characters)s WHERE name = ANY(%(names)s);

-- refused_by_buckets: a claim found nothing in these.
UPDATE claim_buckets SET refused = refused + 1 WHERE name = ANY(%(names)s);

-- rest_batch_for: blocks of a batch wait for a time, or longer where they do so already, as those do that somebody works on: nobody submits their shard again.
UPDATE blocks SET not_before = now() + make_interval(secs => %(wait_seconds)s)
FROM (
    SELECT job_id, block_id FROM blocks WHERE job_id = %(job_id)s AND batch = %(batch)s AND state = 'PENDING'
    AND coalesce(not_before < now() + make_interval(secs => %(wait_seconds)s), true)
    ORDER BY block_id FOR UPDATE SKIP LOCKED
) AS free
WHERE blocks.job_id = free.job_id AND blocks.block_id = free.block_id;

-- claim_buckets: limits of claims that were asked, as they stand now.
SELECT name, per_second * 60 AS per_minute, claimed, refused,
       greatest(0, extract(epoch FROM refilled_at - clock_timestamp()) - characters / per_second)::float8 AS wait_seconds
FROM claim_buckets WHERE refilled_at > now() - interval '1 hour' ORDER BY name;

-- forget_bucket: that of a tenant who is erased.
DELETE FROM claim_buckets WHERE name = 'tenant:' || %(tenant)s;

-- forget_buckets: limits that nobody has asked for a day, and that hold nobody back.
DELETE FROM claim_buckets WHERE name IN (
    SELECT name FROM claim_buckets
    WHERE refilled_at + make_interval(secs => greatest(0, -characters) / per_second) < now() - interval '1 day'
    FOR UPDATE SKIP LOCKED);

-- close_exhausted: blocks of a batch whose budget is spent go to quarantine; one that somebody is just moving is left.
WITH spent AS (
    UPDATE blocks SET state = 'ERROR', error_class = coalesce(error_class, 'transient'),
           reason = coalesce(reason, 'the worker was lost ' || attempt || ' times'), lease_until = NULL, updated_at = now()
    FROM (
        SELECT job_id, block_id FROM blocks
        WHERE job_id = %(job_id)s AND batch = %(batch)s AND attempt >= %(max_attempts)s
          AND (state = 'PENDING' OR (state IN ('CLAIMED', 'PROCESSING') AND lease_until < now()))
        ORDER BY block_id FOR UPDATE SKIP LOCKED
    ) AS spent
    WHERE blocks.job_id = spent.job_id AND blocks.block_id = spent.block_id
    RETURNING blocks.job_id, blocks.block_id, error_class, reason
)
INSERT INTO dead_letters (job_id, entity, entity_id, error_class, reason)
SELECT job_id, 'block', block_id, error_class, reason FROM spent RETURNING entity_id;

-- release: blocks go back untouched, to rest a while: the fault was not theirs, and their budget is not spent. Here and
-- below, LATERAL and OFFSET 0 make PostgreSQL look each block up by its key, in order, and only then at its state. As a
-- plain join it reads all open blocks of the job for each batch, when the statistics are older than the job.
UPDATE blocks SET state = 'PENDING', lease_until = NULL, attempt = blocks.attempt - 1, reason = %(reason)s, updated_at = now(),
       not_before = now() + make_interval(secs => %(wait_seconds)s)
FROM (
    SELECT k.job_id, k.block_id
    FROM (SELECT * FROM unnest(%(block_ids)s::uuid[], %(tokens)s::bigint[]) AS u (id, held) ORDER BY id) AS r,
    LATERAL (SELECT * FROM blocks WHERE job_id = %(job_id)s AND block_id = r.id FOR UPDATE OFFSET 0) AS k
    WHERE k.token = r.held AND k.state IN ('CLAIMED', 'PROCESSING')
) AS r
WHERE blocks.job_id = r.job_id AND blocks.block_id = r.block_id
RETURNING blocks.block_id;

-- rest_batch: blocks of a batch wait until the next trial of the circuits that are open.
UPDATE blocks SET not_before = free.retry_at
FROM (
    SELECT k.job_id, k.block_id, c.retry_at FROM blocks k, (
        SELECT max(retry_at) AS retry_at FROM circuits WHERE opened_at IS NOT NULL AND name = ANY(%(names)s)
    ) AS c
    WHERE k.job_id = %(job_id)s AND k.batch = %(batch)s AND k.state = 'PENDING' AND coalesce(k.not_before < c.retry_at, true)
    ORDER BY k.block_id FOR UPDATE OF k SKIP LOCKED
) AS free
WHERE blocks.job_id = free.job_id AND blocks.block_id = free.block_id;

-- extend: leases that a living worker holds; a token that is no longer current extends nothing. It waits for no lock: a
-- block that is locked is being committed.
UPDATE blocks SET lease_until = now() + make_interval(secs => %(lease_seconds)s)
FROM (
    SELECT job_id, block_id FROM blocks
    WHERE job_id = %(job_id)s AND batch = %(batch)s AND token = ANY(%(tokens)s) AND state IN ('CLAIMED', 'PROCESSING')
    ORDER BY block_id FOR UPDATE SKIP LOCKED
) AS held
WHERE blocks.job_id = held.job_id AND blocks.block_id = held.block_id;

-- still_held: whether a worker holds any block of a batch, also such as are locked just now.
SELECT 1 FROM blocks
WHERE job_id = %(job_id)s AND batch = %(batch)s AND token = ANY(%(tokens)s) AND state IN ('CLAIMED', 'PROCESSING') LIMIT 1;

-- see_instance: a process says that it lives.
INSERT INTO instances (instance_id, kind) VALUES (%(instance_id)s, %(kind)s)
ON CONFLICT (instance_id) DO UPDATE SET seen_at = now(), lost_at = NULL;

-- leave_instance: a process that has ended in good order.
DELETE FROM instances WHERE instance_id = %(instance_id)s;

-- to_come: blocks of a batch that others hold or that wait for their time, and may become free or spent.
SELECT count(*) FROM blocks
WHERE job_id = %(job_id)s AND batch = %(batch)s AND state IN ('PENDING', 'CLAIMED', 'PROCESSING')
  AND EXISTS (SELECT FROM jobs WHERE job_id = %(job_id)s AND state = 'RUNNING');

-- with_waiting_blocks: those of these batches in which blocks wait to be claimed.
SELECT DISTINCT batch FROM blocks
WHERE job_id = %(job_id)s AND batch = ANY(%(batches)s) AND state = 'PENDING' ORDER BY batch;

-- lease_stage: the lease of a stage of a job, where it is free, has run out, or is ours.
INSERT INTO stage_leases (job_id, stage, token, holder, lease_until)
VALUES (%(job_id)s, %(stage)s, new_token(), actor(), now() + make_interval(secs => %(lease_seconds)s))
ON CONFLICT (job_id, stage) DO UPDATE SET token = excluded.token, holder = excluded.holder, lease_until = excluded.lease_until
WHERE stage_leases.lease_until < now()
RETURNING token;

-- extend_stage: the lease of a stage that this process still holds.
UPDATE stage_leases SET lease_until = now() + make_interval(secs => %(lease_seconds)s)
WHERE job_id = %(job_id)s AND stage = %(stage)s AND token = %(token)s;

-- release_stage: the lease of a stage, for whoever comes next.
UPDATE stage_leases SET lease_until = now() WHERE job_id = %(job_id)s AND stage = %(stage)s AND token = %(token)s;

-- hold_stage: the lease, locked until the transaction ends, and its job; nothing where another process has it by now, or
-- the job is in no state for the stage.
SELECT s.token FROM jobs j JOIN stage_leases s USING (job_id)
WHERE j.job_id = %(job_id)s AND j.state = ANY(%(states)s) AND s.stage = %(stage)s AND s.token = %(token)s FOR UPDATE OF j, s;

-- holds_stage: whether the lease of a stage is still this process's, and its job in a state for it.
SELECT s.token FROM jobs j JOIN stage_leases s USING (job_id)
WHERE j.job_id = %(job_id)s AND j.state = ANY(%(states)s) AND s.stage = %(stage)s AND s.token = %(token)s;

-- judge_first: some blocks of an attempt were judged once before they went on with a higher tier. All of its blocks are
-- locked here, in the order in which `finish` takes them: two attempts at the same blocks don't wait for each other.
UPDATE blocks SET state = 'VALIDATING', processing_at = %(processing_at)s, validating_at = %(climbed_at)s, updated_at = now()
FROM (
    SELECT k.job_id, k.block_id, r.reason
    FROM (SELECT * FROM unnest(%(block_ids)s::uuid[], %(tokens)s::bigint[], %(reasons)s::text[]) AS u (id, held, reason) ORDER BY id) AS r,
    LATERAL (SELECT * FROM blocks WHERE job_id = %(job_id)s AND block_id = r.id FOR UPDATE OFFSET 0) AS k
    WHERE k.token = r.held AND k.state IN ('CLAIMED', 'PROCESSING')
    OFFSET 0
) AS r
WHERE blocks.job_id = r.job_id AND blocks.block_id = r.block_id AND r.reason <> '';

-- climb: blocks that were judged go on with a higher tier; `finish` follows in the same transaction.
UPDATE blocks SET state = 'PROCESSING', processing_at = %(climbed_at)s, reason = r.reason, updated_at = now()
FROM (
    SELECT k.job_id, k.block_id, r.reason
    FROM (SELECT * FROM unnest(%(block_ids)s::uuid[], %(tokens)s::bigint[], %(reasons)s::text[]) AS u (id, held, reason) ORDER BY id) AS r,
    LATERAL (SELECT * FROM blocks WHERE job_id = %(job_id)s AND block_id = r.id FOR UPDATE OFFSET 0) AS k
    WHERE k.token = r.held AND k.state = 'VALIDATING'
) AS r
WHERE blocks.job_id = r.job_id AND blocks.block_id = r.block_id;

-- finish: makes the results of an attempt current, where the token still holds; returns the blocks accepted.
UPDATE blocks SET state = 'VALIDATING', lease_until = NULL, processing_at = coalesce(blocks.processing_at, %(processing_at)s),
       validating_at = clock_timestamp(),
       result = %(result)s, models = string_to_array(nullif(r.models, ''), ','), tier = r.tier, score = r.score, seconds = r.seconds,
       cost = coalesce(blocks.cost, 0) + r.cost, error_class = NULL, reason = nullif(r.reason, ''), updated_at = now()
FROM (
    SELECT k.job_id, k.block_id, r.*
    FROM (SELECT * FROM unnest(%(block_ids)s::uuid[], %(tokens)s::bigint[], %(models)s::text[], %(tiers)s::text[],
                               %(scores)s::real[], %(seconds)s::real[], %(costs)s::float8[], %(reasons)s::text[])
          AS u (id, held, models, tier, score, seconds, cost, reason) ORDER BY id) AS r,
    LATERAL (SELECT * FROM blocks WHERE job_id = %(job_id)s AND block_id = r.id FOR UPDATE OFFSET 0) AS k
    WHERE k.token = r.held AND k.state IN ('CLAIMED', 'PROCESSING')
) AS r
WHERE blocks.job_id = r.job_id AND blocks.block_id = r.block_id
RETURNING blocks.block_id;

-- add_tier_batch: a batch for blocks of another one that wait for a tier; a second time adds nothing.
INSERT INTO batches (job_id, batch, shard, source, target, part, row_group, characters, tier)
SELECT job_id, %(number)s, shard, source, target, part, row_group, 0, %(tier)s FROM batches
WHERE job_id = %(job_id)s AND batch = %(batch)s ON CONFLICT DO NOTHING;

-- wait_for_tier: blocks that were judged wait for a tier of another pool, in a batch of its own; their budget is not spent.
UPDATE blocks SET state = 'PENDING', batch = %(number)s, lease_until = NULL, attempt = blocks.attempt - 1, not_before = NULL,
       processing_at = coalesce(blocks.processing_at, %(processing_at)s), validating_at = clock_timestamp(),
       reason = r.reason, updated_at = now()
FROM (
    SELECT k.job_id, k.block_id, r.reason
    FROM (SELECT * FROM unnest(%(block_ids)s::uuid[], %(tokens)s::bigint[], %(reasons)s::text[]) AS u (id, held, reason) ORDER BY id) AS r,
    LATERAL (SELECT * FROM blocks WHERE job_id = %(job_id)s AND block_id = r.id FOR UPDATE OFFSET 0) AS k
    WHERE k.token = r.held AND k.state IN ('CLAIMED', 'PROCESSING')
) AS r
WHERE blocks.job_id = r.job_id AND blocks.block_id = r.block_id
RETURNING blocks.block_id;

-- add_spending: what the models of each route took for a job.
INSERT INTO spending AS s (job_id, day, tier, models, texts, characters, climbed, stayed, seconds, cost)
SELECT %(job_id)s, (now() AT TIME ZONE 'UTC')::date, u.*
FROM unnest(%(tiers)s::text[], %(models)s::text[], %(texts)s::bigint[], %(characters)s::bigint[], %(climbed)s::bigint[],
            %(stayed)s::bigint[], %(seconds)s::float8[], %(costs)s::float8[])
     AS u (tier, models, texts, characters, climbed, stayed, seconds, cost) ORDER BY models
ON CONFLICT (job_id, day, models) DO UPDATE SET
    texts = s.texts + excluded.texts, characters = s.characters + excluded.characters, climbed = s.climbed + excluded.climbed,
    stayed = s.stayed + excluded.stayed, seconds = s.seconds + excluded.seconds, cost = s.cost + excluded.cost;

-- spent: what a job, and its tenant today, have spent.
SELECT (SELECT coalesce(sum(cost), 0) FROM spending WHERE job_id = %(job_id)s),
       (SELECT coalesce(sum(s.cost), 0) FROM spending s JOIN jobs j USING (job_id)
        WHERE s.day = (now() AT TIME ZONE 'UTC')::date AND j.tenant = %(tenant)s);

-- spending: what each tier and its models took for a job, all days together.
SELECT tier, models, sum(texts)::bigint AS texts, sum(characters)::bigint AS characters, sum(climbed)::bigint AS climbed,
       sum(stayed)::bigint AS stayed, sum(seconds) AS seconds, sum(cost) AS cost
FROM spending WHERE job_id = %(job_id)s GROUP BY tier, models ORDER BY sum(seconds) DESC, models;

-- hand_back: a failed attempt: blocks return to PENDING, with the cause, and wait for a while.
UPDATE blocks SET state = 'PENDING', lease_until = NULL, error_class = %(error_class)s, reason = %(reason)s, updated_at = now(),
       not_before = now() + make_interval(secs => %(wait_seconds)s)
FROM (
    SELECT k.job_id, k.block_id
    FROM (SELECT * FROM unnest(%(block_ids)s::uuid[], %(tokens)s::bigint[]) AS u (id, held) ORDER BY id) AS r,
    LATERAL (SELECT * FROM blocks WHERE job_id = %(job_id)s AND block_id = r.id FOR UPDATE OFFSET 0) AS k
    WHERE k.token = r.held AND k.state IN ('CLAIMED', 'PROCESSING')
) AS r
WHERE blocks.job_id = r.job_id AND blocks.block_id = r.block_id
RETURNING blocks.block_id;

-- quarantine: open blocks to ERROR, each with its dead letter; returns how many.
WITH refused AS (
    UPDATE blocks SET state = 'ERROR', lease_until = NULL, error_class = %(error_class)s, reason = r.reason, updated_at = now()
    FROM (
        SELECT k.job_id, k.block_id, r.reason
        FROM (SELECT * FROM unnest(%(block_ids)s::uuid[], %(reasons)s::text[]) AS u (id, reason) ORDER BY id) AS r,
        LATERAL (SELECT * FROM blocks WHERE job_id = %(job_id)s AND block_id = r.id FOR UPDATE OFFSET 0) AS k
        WHERE k.state IN ('PENDING', 'CLAIMED', 'PROCESSING', 'VALIDATING')
    ) AS r
    WHERE blocks.job_id = r.job_id AND blocks.block_id = r.block_id
    RETURNING blocks.job_id, blocks.block_id, blocks.error_class, blocks.reason, blocks.score, blocks.models
)
INSERT INTO dead_letters (job_id, entity, entity_id, error_class, reason, evidence)
SELECT job_id, 'block', block_id, error_class, reason, jsonb_build_object('score', score, 'models', models) FROM refused
RETURNING entity_id;

-- quarantine_held: blocks whose attempt met what no retry mends, where the token still holds; each with its dead letter.
WITH refused AS (
    UPDATE blocks SET state = 'ERROR', lease_until = NULL, error_class = %(error_class)s, reason = %(reason)s, updated_at = now()
    FROM (
        SELECT k.job_id, k.block_id
        FROM (SELECT * FROM unnest(%(block_ids)s::uuid[], %(tokens)s::bigint[]) AS u (id, held) ORDER BY id) AS r,
        LATERAL (SELECT * FROM blocks WHERE job_id = %(job_id)s AND block_id = r.id FOR UPDATE OFFSET 0) AS k
        WHERE k.token = r.held AND k.state IN ('CLAIMED', 'PROCESSING')
    ) AS r
    WHERE blocks.job_id = r.job_id AND blocks.block_id = r.block_id
    RETURNING blocks.job_id, blocks.block_id, blocks.error_class, blocks.reason
)
INSERT INTO dead_letters (job_id, entity, entity_id, error_class, reason)
SELECT job_id, 'block', block_id, error_class, reason FROM refused RETURNING entity_id;

-- quarantine_blocks_of: the open blocks of a document that ended in ERROR.
UPDATE blocks SET state = 'ERROR', lease_until = NULL, error_class = 'data', reason = %(reason)s, updated_at = now()
FROM (
    SELECT job_id, block_id FROM blocks
    WHERE job_id = %(job_id)s AND document_id = %(document_id)s AND state IN ('PENDING', 'CLAIMED', 'PROCESSING', 'VALIDATING')
    ORDER BY block_id FOR UPDATE
) AS opened
WHERE blocks.job_id = opened.job_id AND blocks.block_id = opened.block_id;

-- quarantine_document: a document's dead letter.
INSERT INTO dead_letters (job_id, entity, entity_id, error_class, reason)
VALUES (%(job_id)s, 'document', %(document_id)s, 'data', %(reason)s);

-- accept: blocks that passed the gate.
UPDATE blocks SET state = 'COMPLETED', updated_at = now()
FROM (
    SELECT job_id, block_id FROM blocks WHERE job_id = %(job_id)s AND state = 'VALIDATING'
    ORDER BY block_id LIMIT 20000 FOR UPDATE
) AS passed
WHERE blocks.job_id = passed.job_id AND blocks.block_id = passed.block_id
RETURNING blocks.block_id;

-- retry_blocks: quarantined blocks of a job get a new budget (a person asked: the job was started again).
UPDATE blocks SET state = 'PENDING', attempt = 0, reason = NULL, error_class = NULL, not_before = NULL, updated_at = now()
FROM (
    SELECT job_id, block_id FROM blocks WHERE job_id = %(job_id)s AND state = 'ERROR' AND batch IS NOT NULL
    ORDER BY block_id FOR UPDATE
) AS refused
WHERE blocks.job_id = refused.job_id AND blocks.block_id = refused.block_id
RETURNING blocks.block_id;

-- retry_documents: documents of a job that is started again, where they have blocks to work on.
UPDATE documents SET state = 'TRANSLATING', reason = NULL, updated_at = now()
WHERE job_id = %(job_id)s AND state IN ('PARTIAL', 'ERROR') AND segments > 0;

-- cancel_blocks: open blocks of a job.
UPDATE blocks SET state = 'CANCELED', lease_until = NULL, updated_at = now()
FROM (
    SELECT job_id, block_id FROM blocks WHERE job_id = %(job_id)s AND state IN ('PENDING', 'CLAIMED', 'PROCESSING', 'VALIDATING')
    ORDER BY block_id FOR UPDATE
) AS opened
WHERE blocks.job_id = opened.job_id AND blocks.block_id = opened.block_id
RETURNING blocks.block_id;

-- cancel_documents: documents of a job that have not ended.
UPDATE documents SET state = 'CANCELED', updated_at = now()
WHERE job_id = %(job_id)s AND state IN ('REGISTERED', 'PARTITIONED', 'TRANSLATING', 'ASSEMBLING');

-- batches_to_judge: batches with blocks that the gate has not judged yet.
SELECT DISTINCT batch FROM blocks WHERE job_id = %(job_id)s AND state = 'VALIDATING' ORDER BY 1;

-- results_of_batches: results objects of these batches, with the blocks whose current translation they hold.
SELECT result, array_agg(block_id::text) FROM blocks
WHERE job_id = %(job_id)s AND batch = ANY(%(batches)s) AND state = 'VALIDATING' AND result IS NOT NULL GROUP BY 1 ORDER BY 1;

-- blocks_of_document: a page of the blocks of one document and language with their place in the store, in order.
SELECT k.block_id, k.number, k.state, k.result, k.reason, k.tier, k.score, b.part, b.row_group
FROM blocks k LEFT JOIN batches b USING (job_id, batch)
WHERE k.job_id = %(job_id)s AND k.document_id = %(document_id)s AND k.target = %(target)s AND k.number > %(after)s
ORDER BY k.number LIMIT %(limit)s;

-- page_of_job: a page of a job's blocks with their place in the store, after a place on, read along one index.
SELECT k.block_id, k.document_id, d.paths[1] AS path, k.target, k.number, k.segments, k.state, k.reason, k.models, k.tier,
       k.score, k.result, b.part, b.row_group
FROM blocks k JOIN documents d USING (job_id, document_id) LEFT JOIN batches b USING (job_id, batch)
WHERE k.job_id = %(job_id)s AND (k.document_id, k.target, k.number) > (%(after_document)s, %(after_target)s, %(after_number)s)
  AND coalesce(k.target = %(target)s, true)
ORDER BY k.document_id, k.target, k.number LIMIT %(limit)s;

-- page_of_document: the same of one document.
SELECT k.block_id, k.document_id, d.paths[1] AS path, k.target, k.number, k.segments, k.state, k.reason, k.models, k.tier,
       k.score, k.result, b.part, b.row_group
FROM blocks k JOIN documents d USING (job_id, document_id) LEFT JOIN batches b USING (job_id, batch)
WHERE k.job_id = %(job_id)s AND k.document_id = %(document_id)s
  AND (k.target, k.number) > (%(after_target)s, %(after_number)s) AND coalesce(k.target = %(target)s, true)
ORDER BY k.target, k.number LIMIT %(limit)s;

-- placed_block: one block of a document, by its number.
SELECT k.block_id, k.document_id, d.paths[1] AS path, k.target, k.number, k.segments, k.state, k.reason, k.models, k.tier,
       k.score, k.result, b.part, b.row_group
FROM blocks k JOIN documents d USING (job_id, document_id) LEFT JOIN batches b USING (job_id, batch)
WHERE k.job_id = %(job_id)s AND k.document_id = %(document_id)s AND k.target = %(target)s AND k.number = %(number)s;

-- blocks: a page of a job's blocks after a place, in the order of an index; by state where one is given.
SELECT k.*, d.paths[1] AS path, coalesce(b.source, k.target) AS source
FROM blocks k JOIN documents d USING (job_id, document_id) LEFT JOIN batches b USING (job_id, batch)
WHERE k.job_id = %(job_id)s AND (k.document_id, k.target, k.number) > (%(after_document)s, %(after_target)s, %(after_number)s)
  AND coalesce(k.state = %(state)s, true)
ORDER BY k.document_id, k.target, k.number LIMIT %(limit)s;

-- write_output: what assemble made.
INSERT INTO outputs (job_id, document_id, target, size_bytes, sha256, units_in, units_out, segments, translated, untranslated)
VALUES (%(job_id)s, %(document_id)s, %(target)s, %(size_bytes)s, %(sha256)s, %(units_in)s, %(units_out)s, %(segments)s,
        %(translated)s, %(untranslated)s)
ON CONFLICT (job_id, document_id, target) DO UPDATE SET size_bytes = excluded.size_bytes, sha256 = excluded.sha256,
    units_in = excluded.units_in, units_out = excluded.units_out, segments = excluded.segments,
    translated = excluded.translated, untranslated = excluded.untranslated, refused = NULL;

-- refuse_output: an output that the gate will not let out.
UPDATE outputs SET refused = %(reason)s WHERE job_id = %(job_id)s AND document_id = %(document_id)s AND target = %(target)s;

-- outputs: what assemble made of a job, with what became of the blocks.
SELECT o.*, d.paths, d.source, d.format, d.origin FROM outputs o JOIN documents d USING (job_id, document_id)
WHERE o.job_id = %(job_id)s ORDER BY d.paths[1], o.target;

-- block_counts: blocks of a job by document, language and state.
SELECT document_id, target, state, count(*) AS blocks FROM blocks WHERE job_id = %(job_id)s GROUP BY 1, 2, 3;

-- progress: blocks of a job by state, with characters.
SELECT state, count(*) AS blocks, coalesce(sum(characters), 0) AS characters FROM blocks WHERE job_id = %(job_id)s GROUP BY 1;

-- totals: what a job took, by language, tier and model.
SELECT target, tier, models, count(*) AS blocks, sum(segments) AS segments, sum(characters) AS characters, avg(score) AS score,
       sum(seconds) AS seconds, sum(cost) AS cost
FROM blocks WHERE job_id = %(job_id)s AND result IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- languages: blocks of a job by the language they are in; those of the target language are in no batch.
SELECT coalesce(b.source, k.target) AS source, k.target, k.batch IS NULL AS passed, count(*) AS blocks, sum(k.characters)::bigint AS characters
FROM blocks k LEFT JOIN batches b USING (job_id, batch) WHERE k.job_id = %(job_id)s GROUP BY 1, 2, 3 ORDER BY 2, 5 DESC, 1;

-- errors: quarantined blocks of a job by reason.
SELECT error_class, reason, count(*) AS blocks FROM blocks WHERE job_id = %(job_id)s AND state = 'ERROR' GROUP BY 1, 2 ORDER BY 3 DESC;

-- find_known: where translations of these segments lie, if they are known.
SELECT s.segment_key, r.object_key, s.row_number FROM known_segments s JOIN results r USING (result_id) WHERE s.segment_key = ANY(%(keys)b::bytea[]);

-- add_known: a results object, with the segments of it that are worth knowing: they passed their checks. One that was
-- known is only made again where it could not be read.
WITH made AS (INSERT INTO results (job_id, object_key) VALUES (%(job_id)s, %(object_key)s) RETURNING result_id)
INSERT INTO known_segments (segment_key, result_id, row_number)
SELECT k, result_id, n FROM made, unnest(%(keys)b::bytea[], %(rows)b::int[]) AS u (k, n) ORDER BY k
ON CONFLICT (segment_key) DO UPDATE SET result_id = excluded.result_id, row_number = excluded.row_number;

-- history_of: what happened to a job, documents or blocks of it, in order.
SELECT * FROM history WHERE job_id = %(job_id)s AND entity_id = ANY(%(entity_ids)s) ORDER BY at;

-- find_block: a block by its id. It shares its job's time, which leads to the job, and so to one entry of one index.
SELECT k.*, d.paths[1] AS path, coalesce(b.source, k.target) AS source
FROM jobs j JOIN blocks k ON k.job_id = j.job_id AND k.block_id = %(block_id)s
JOIN documents d ON d.job_id = k.job_id AND d.document_id = k.document_id
LEFT JOIN batches b ON b.job_id = k.job_id AND b.batch = k.batch AND b.job_id BETWEEN %(low)s AND %(high)s
WHERE j.job_id BETWEEN %(low)s AND %(high)s AND k.job_id BETWEEN %(low)s AND %(high)s AND d.job_id BETWEEN %(low)s AND %(high)s;

-- job_of_run: the job that a DAG run works on, or waits with for its turn.
SELECT job_id FROM jobs WHERE run_id = %(run_id)s AND state IN ('DEFERRED', 'ADMITTED', 'RUNNING');

-- report_incident_once: the same, where it was not reported within this time.
INSERT INTO incidents (kind, job_id, entity, entity_id, reason)
SELECT %(kind)s, %(job_id)s, %(entity)s, %(entity_id)s, %(reason)s
WHERE NOT EXISTS (
    SELECT FROM incidents
    WHERE kind = %(kind)s AND job_id IS NOT DISTINCT FROM %(job_id)s::uuid AND entity_id IS NOT DISTINCT FROM %(entity_id)s::text
      AND at > now() - make_interval(secs => %(seconds)s)
);

-- report_incident: what must be known and is no transition of a row.
INSERT INTO incidents (kind, job_id, entity, entity_id, reason)
VALUES (%(kind)s, %(job_id)s, %(entity)s, %(entity_id)s, %(reason)s);

-- incidents: the newest incidents, of one job where one is given.
SELECT * FROM incidents WHERE %(job_id)s::uuid IS NULL OR job_id = %(job_id)s ORDER BY incident_id DESC LIMIT %(limit)s;

-- incidents_of: incidents of a job that concern these entities.
SELECT * FROM incidents WHERE job_id = %(job_id)s AND (entity_id = ANY(%(entity_ids)s) OR entity IS NULL) ORDER BY at;

-- open_circuits: circuits that are open, and whether it is time to try.
SELECT name, cause, failures, openings, opened_at, retry_at, retry_at <= now() AS due FROM circuits
WHERE opened_at IS NOT NULL ORDER BY name;

-- try_circuit: takes the one trial that an open circuit allows from time to time, each after twice as long.
UPDATE circuits SET openings = openings + 1, retry_at = now() + make_interval(secs => %(seconds)s * 2 ^ least(openings, %(doublings)s))
WHERE name = %(name)s AND opened_at IS NOT NULL AND retry_at <= now() RETURNING name;

-- count_failure: one more failure in a row of this cause; opens the circuit at the limit, each time for longer.
INSERT INTO circuits AS c (name, failures, cause) VALUES (%(name)s, 1, %(cause)s)
ON CONFLICT (name) DO UPDATE SET
    failures = CASE WHEN c.cause = excluded.cause OR c.opened_at IS NOT NULL THEN c.failures + 1 ELSE 1 END,
    cause = excluded.cause
RETURNING failures, opened_at IS NOT NULL AS open, openings;

-- open_circuit: nothing is claimed for it before this time has passed.
UPDATE circuits SET opened_at = now(), openings = 1, retry_at = now() + make_interval(secs => %(seconds)s)
WHERE name = %(name)s RETURNING name;

-- forget_circuits: open circuits that nobody has tried for an hour: nothing needs them any more.
DELETE FROM circuits WHERE coalesce(retry_at, now()) < now() - interval '1 hour' RETURNING name;

-- lock_circuits: in the order of their names, so that no two commits wait for one another.
SELECT name FROM circuits WHERE name = ANY(%(names)s) ORDER BY name FOR UPDATE;

-- close_circuits: these work; that one was open and is closed is an incident. Locked as above.
WITH closed AS (
    DELETE FROM circuits WHERE name IN (SELECT name FROM circuits WHERE name = ANY(%(names)s) ORDER BY name FOR UPDATE)
    RETURNING name, opened_at, cause
)
INSERT INTO incidents (kind, entity, entity_id, reason)
SELECT %(kind)s, 'circuit', name, 'works again after: ' || cause FROM closed WHERE opened_at IS NOT NULL;

-- rollouts_in_effect: rollouts that change what translates a block, the oldest first.
SELECT * FROM rollouts WHERE state IN ('RUNNING', 'PROMOTED') ORDER BY rollout_id;

-- rollouts: the newest rollouts.
SELECT * FROM rollouts ORDER BY rollout_id DESC LIMIT %(limit)s;

-- rollout: one rollout.
SELECT * FROM rollouts WHERE rollout_id = %(rollout_id)s;

-- start_rollout: a candidate begins to take blocks of an incumbent.
INSERT INTO rollouts (incumbent, candidate, shares, limits)
VALUES (%(incumbent)s, %(candidate)s, %(shares)s::float8[], %(limits)s) RETURNING rollout_id;

-- step_rollout: the next step of a rollout, where it still is at this one.
UPDATE rollouts SET step = step + 1, step_at = now()
WHERE rollout_id = %(rollout_id)s AND step = %(step)s AND state = 'RUNNING' RETURNING rollout_id;

-- end_rollout: the end of a rollout that still is in this state.
UPDATE rollouts SET state = %(state)s, reason = %(reason)s, ended_at = now()
WHERE rollout_id = %(rollout_id)s AND state = %(before)s RETURNING rollout_id;

-- rollout_evidence: what was seen of both sides in a step.
SELECT side, blocks, failed, segments, characters, score_sum, score_squares, timed, seconds, cost, failures FROM rollout_evidence
WHERE rollout_id = %(rollout_id)s AND step = %(step)s;

-- add_rollout_job: a job has blocks on either side of a rollout.
INSERT INTO rollout_jobs (job_id, rollout_id) VALUES (%(job_id)s, %(rollout_id)s) ON CONFLICT DO NOTHING;

-- add_rollout_evidence: what a batch has shown of one side.
INSERT INTO rollout_evidence AS e (rollout_id, step, side, blocks, failed, segments, characters, score_sum, score_squares,
                                   timed, seconds, cost, failures)
VALUES (%(rollout_id)s, %(step)s, %(side)s, %(blocks)s, %(failed)s, %(segments)s, %(characters)s, %(score_sum)s,
        %(score_squares)s, %(timed)s, %(seconds)s, %(cost)s, %(failures)s)
ON CONFLICT (rollout_id, step, side) DO UPDATE SET
    blocks = e.blocks + excluded.blocks, failed = e.failed + excluded.failed, segments = e.segments + excluded.segments,
    characters = e.characters + excluded.characters, score_sum = e.score_sum + excluded.score_sum,
    score_squares = e.score_squares + excluded.score_squares, timed = e.timed + excluded.timed,
    seconds = e.seconds + excluded.seconds, cost = e.cost + excluded.cost,
    failures = coalesce((
        SELECT jsonb_object_agg(key, n) FROM (
            SELECT key, sum(value::bigint) AS n
            FROM (SELECT * FROM jsonb_each_text(e.failures) UNION ALL SELECT * FROM jsonb_each_text(excluded.failures)) AS parts
            GROUP BY key
        ) AS summed
    ), '{}');

-- add_rollout_decision: what was decided, by which rule, on what evidence.
INSERT INTO rollout_decisions (rollout_id, step, result, rule, evidence)
VALUES (%(rollout_id)s, %(step)s, %(result)s, %(rule)s, %(evidence)s);

-- rollout_decisions: what was decided about a rollout, in order.
SELECT at, step, result, rule, evidence, actor FROM rollout_decisions WHERE rollout_id = %(rollout_id)s ORDER BY decision_id;

-- rollouts_of_job: how many blocks of a job took the candidate of a rollout, and how many it failed, which the incumbent made.
SELECT r.rollout_id, r.candidate, r.state,
       count(*) FILTER (WHERE r.candidate = ANY(string_to_array(array_to_string(k.models, '+'), '+'))) AS blocks,
       count(*) FILTER (WHERE starts_with(k.reason, r.candidate || ' failed its checks')) AS failed
FROM rollouts r, blocks k WHERE k.job_id = %(job_id)s AND k.result IS NOT NULL
GROUP BY 1, 2, 3
HAVING bool_or(r.candidate = ANY(string_to_array(array_to_string(k.models, '+'), '+')) OR starts_with(k.reason, r.candidate || ' failed its checks'))
ORDER BY 1;

-- add_object: an object of a job in the store, with its checksum; a second time replaces the first.
INSERT INTO objects (job_id, object_key, sha256, size_bytes) VALUES (%(job_id)s, %(object_key)s, %(sha256)s, %(size_bytes)s)
ON CONFLICT (job_id, object_key) DO UPDATE SET sha256 = excluded.sha256, size_bytes = excluded.size_bytes, made_at = now();

-- object_sha256: the checksum of an object of a job.
SELECT sha256 FROM objects WHERE job_id = %(job_id)s AND object_key = %(object_key)s;

-- forget_objects: objects of a job that are gone from the store.
DELETE FROM objects WHERE job_id = %(job_id)s AND object_key = ANY(%(object_keys)s);

-- objects: a page of a job's objects, in order.
SELECT object_key, sha256, size_bytes FROM objects WHERE job_id = %(job_id)s AND object_key > %(after)s
ORDER BY object_key LIMIT %(limit)s;

-- known_objects: which of these keys of a job are named.
SELECT object_key FROM objects WHERE job_id = %(job_id)s AND object_key = ANY(%(object_keys)s)
UNION SELECT object_key FROM results WHERE object_key = ANY(%(object_keys)s)
UNION SELECT result FROM blocks WHERE job_id = %(job_id)s AND result = ANY(%(object_keys)s);

-- current_results: results objects that blocks of a job point at.
SELECT DISTINCT result FROM blocks WHERE job_id = %(job_id)s AND result IS NOT NULL ORDER BY 1;

-- blocks_of_result: blocks whose current translation lies in this object.
SELECT block_id::text, segments, state FROM blocks WHERE job_id = %(job_id)s AND result = %(result)s;

-- block_segments: segments of a job's blocks by document and language: all of them, and those that want a translation.
SELECT document_id, target, sum(segments)::bigint, (coalesce(sum(segments) FILTER (WHERE batch IS NOT NULL), 0))::bigint
FROM blocks WHERE job_id = %(job_id)s GROUP BY 1, 2;

-- unmade_blocks: blocks that are done without a translation, were not in the target language, and that nobody has released.
SELECT k.block_id::text FROM blocks k
WHERE k.job_id = %(job_id)s AND k.state = 'COMPLETED' AND k.result IS NULL AND k.batch IS NOT NULL AND NOT EXISTS (
    SELECT FROM dead_letters l WHERE l.job_id = %(job_id)s AND l.decision = 'release'
    AND l.entity_id IN (k.block_id::text, k.document_id))
ORDER BY 1;

-- known_raw: which of these documents some job has.
SELECT DISTINCT document_id FROM documents WHERE document_id = ANY(%(document_ids)s);

-- kept_raw: which of these documents some job has that is not being removed for ever.
SELECT DISTINCT d.document_id FROM documents d JOIN jobs j USING (job_id)
WHERE d.document_id = ANY(%(document_ids)s) AND j.residence <> 'purged';

-- known_jobs: which of these jobs there are.
SELECT job_id FROM jobs WHERE job_id = ANY(%(job_ids)s);

-- redo_blocks: blocks whose translation is lost are translated again.
UPDATE blocks SET state = 'PENDING', result = NULL, attempt = 0, reason = %(reason)s, not_before = NULL, updated_at = now()
FROM (
    SELECT job_id, block_id FROM blocks WHERE job_id = %(job_id)s AND result = ANY(%(results)s) AND state IN ('COMPLETED', 'VALIDATING')
    ORDER BY block_id FOR UPDATE
) AS own
WHERE blocks.job_id = own.job_id AND blocks.block_id = own.block_id
RETURNING blocks.block_id;

-- reopen_documents: documents of these blocks go back to translating.
UPDATE documents SET state = 'TRANSLATING', reason = NULL, updated_at = now()
WHERE job_id = %(job_id)s AND state IN ('COMPLETED', 'PARTIAL', 'ERROR')
  AND document_id IN (SELECT document_id FROM blocks WHERE job_id = %(job_id)s AND block_id = ANY(%(block_ids)s));

-- reopen_job: a job that has ended is taken up again by the next run under its key. It has none until that has begun: the
-- end of the last one says nothing about it any more.
UPDATE jobs SET state = 'RUNNING', run_id = NULL, reason = NULL, stopped_by = NULL, dropped_at = NULL, finished_at = NULL
WHERE job_id = %(job_id)s AND state IN ('COMPLETED', 'PARTIAL', 'ERROR') AND residence = 'hot' RETURNING job_id;

-- dead_letters: the newest letters of quarantined blocks and documents that nobody has decided on, of one job where given.
SELECT l.job_id, l.entity, l.entity_id, l.at, l.error_class, l.reason, l.evidence, d.paths[1] AS path, k.target, k.number
FROM dead_letters l
LEFT JOIN blocks k ON k.job_id = l.job_id AND k.block_id = CASE WHEN l.entity = 'block' THEN l.entity_id::uuid END
LEFT JOIN documents d ON d.job_id = l.job_id AND d.document_id = coalesce(k.document_id, l.entity_id)
WHERE l.decision IS NULL AND (%(job_id)s::uuid IS NULL OR l.job_id = %(job_id)s)
  AND CASE WHEN l.entity = 'block' THEN k.state ELSE d.state END = 'ERROR'
ORDER BY l.at DESC, l.entity_id LIMIT %(limit)s OFFSET %(offset)s;

-- letters_of: every letter of one block or document, with what was decided.
SELECT at, error_class, reason, evidence, decision, decided_by, decided_at FROM dead_letters
WHERE job_id = %(job_id)s AND entity_id = %(entity_id)s ORDER BY at;

-- retry_quarantined: these blocks get a new budget, under another profile where one is given.
UPDATE blocks SET state = 'PENDING', attempt = 0, reason = NULL, error_class = NULL, not_before = NULL,
       profile = coalesce(%(profile)s, blocks.profile), updated_at = now()
FROM (
    SELECT job_id, block_id FROM blocks WHERE job_id = %(job_id)s AND block_id = ANY(%(block_ids)s) AND state = 'ERROR' AND batch IS NOT NULL
    ORDER BY block_id FOR UPDATE
) AS own
WHERE blocks.job_id = own.job_id AND blocks.block_id = own.block_id
RETURNING blocks.block_id;

-- release_quarantined: these blocks stand as they are: with their last translation, or with their source.
UPDATE blocks SET state = 'COMPLETED', reason = %(reason)s, updated_at = now()
FROM (
    SELECT job_id, block_id FROM blocks WHERE job_id = %(job_id)s AND block_id = ANY(%(block_ids)s) AND state = 'ERROR'
    ORDER BY block_id FOR UPDATE
) AS own
WHERE blocks.job_id = own.job_id AND blocks.block_id = own.block_id
RETURNING blocks.block_id;

-- decide_letters: what a person decided on the letters of these blocks, and so of their documents.
UPDATE dead_letters SET decision = %(decision)s, decided_by = %(by)s, decided_at = now()
WHERE job_id = %(job_id)s AND decision IS NULL
  AND entity_id IN (
      SELECT unnest(ARRAY[block_id::text, document_id]) FROM blocks
      WHERE job_id = %(job_id)s AND block_id = ANY(%(block_ids)s)
  );

-- quarantined_blocks: the blocks of a job that are in ERROR.
SELECT block_id FROM blocks WHERE job_id = %(job_id)s AND state = 'ERROR' ORDER BY block_id;

-- stop_job: a gate stopped the job: it ends in ERROR and waits for a person's decision.
UPDATE jobs SET state = 'ERROR', reason = %(reason)s, stopped_by = %(gate)s, finished_at = now()
WHERE job_id = %(job_id)s AND state = 'RUNNING' RETURNING job_id;

-- decide: what a person decided about a gate that stopped a job, and which question that answers.
INSERT INTO decisions (job_id, gate, decision, decided_by, question) VALUES (%(job_id)s, %(gate)s, %(decision)s, %(by)s, %(question)s);

-- answer: what was decided on a question.
SELECT decision FROM decisions WHERE job_id = %(job_id)s AND question = %(question)s ORDER BY at DESC LIMIT 1;

-- count_decisions: how often people have decided about what a gate found in a job.
SELECT count(*) FROM decisions WHERE job_id = %(job_id)s AND gate = %(gate)s;

-- settle_stop: the job waits for no decision any more; where it was dropped, until somebody asks for it.
UPDATE jobs SET stopped_by = NULL, dropped_at = CASE WHEN %(dropped)s THEN now() END WHERE job_id = %(job_id)s RETURNING job_id;

-- use_acceptance: who has accepted what a gate finds in a job; holds for one run.
UPDATE decisions SET used_by = %(run_id)s
WHERE job_id = %(job_id)s AND gate = %(gate)s AND decision = 'accept' AND coalesce(used_by = %(run_id)s, true)
RETURNING decided_by;

-- retry_judged: blocks that a gate is about to refuse get a better profile instead.
UPDATE blocks SET state = 'PENDING', attempt = 0, profile = %(profile)s, not_before = NULL, updated_at = now(),
       reason = %(reason)s
FROM (
    SELECT job_id, block_id FROM blocks WHERE job_id = %(job_id)s AND block_id = ANY(%(block_ids)s) AND state = 'VALIDATING'
    ORDER BY block_id FOR UPDATE
) AS own
WHERE blocks.job_id = own.job_id AND blocks.block_id = own.block_id
RETURNING blocks.block_id;

-- expire_blocks: blocks that a lost worker held for long go back, a backstop: claims take expired leases by themselves.
UPDATE blocks SET state = 'PENDING', lease_until = NULL, error_class = 'transient',
       reason = 'its worker was lost', updated_at = now()
FROM (
    SELECT k.job_id, k.block_id FROM blocks k JOIN jobs j USING (job_id)
    WHERE k.state IN ('CLAIMED', 'PROCESSING') AND k.lease_until < now() - make_interval(secs => %(grace_seconds)s)
      AND j.state = 'RUNNING'
    ORDER BY k.job_id, k.block_id LIMIT 5000 FOR UPDATE OF k SKIP LOCKED
) AS gone
WHERE blocks.job_id = gone.job_id AND blocks.block_id = gone.block_id
RETURNING blocks.job_id;

-- close_spent: blocks of running jobs that wait with their budget spent go to quarantine, each with its dead letter.
WITH spent AS (
    UPDATE blocks SET state = 'ERROR', error_class = coalesce(blocks.error_class, 'transient'),
           reason = coalesce(blocks.reason, 'the worker was lost ' || attempt || ' times'), updated_at = now()
    FROM (
        SELECT k.job_id, k.block_id FROM blocks k JOIN jobs j USING (job_id)
        WHERE k.state = 'PENDING' AND k.attempt >= %(max_attempts)s AND j.state = 'RUNNING'
        ORDER BY k.job_id, k.block_id LIMIT 5000 FOR UPDATE OF k SKIP LOCKED
    ) AS out
    WHERE blocks.job_id = out.job_id AND blocks.block_id = out.block_id
    RETURNING blocks.job_id, blocks.block_id, blocks.error_class, blocks.reason
)
INSERT INTO dead_letters (job_id, entity, entity_id, error_class, reason)
SELECT job_id, 'block', block_id, error_class, reason FROM spent RETURNING entity_id;

-- lose_instances: instances that have not been seen for so long are lost.
UPDATE instances SET lost_at = now()
WHERE lost_at IS NULL AND seen_at < now() - make_interval(secs => %(silent_seconds)s) RETURNING instance_id, seen_at;

-- lose_instance: one instance that is known to have ended.
UPDATE instances SET lost_at = now() WHERE instance_id = %(instance_id)s AND lost_at IS NULL;

-- forget_instances: instances lost long ago.
DELETE FROM instances WHERE lost_at < now() - interval '7 days';

-- free_leases_of: what lost instances held is free at once.
UPDATE blocks SET lease_until = now() - interval '1 millisecond'
FROM (
    SELECT k.job_id, k.block_id FROM blocks k JOIN jobs j USING (job_id)
    WHERE k.state IN ('CLAIMED', 'PROCESSING') AND k.lease_until > now() AND k.claimed_by = ANY(%(instances)s)
      AND j.state = 'RUNNING'
    ORDER BY k.job_id, k.block_id FOR UPDATE OF k SKIP LOCKED
) AS held
WHERE blocks.job_id = held.job_id AND blocks.block_id = held.block_id
RETURNING blocks.job_id, blocks.block_id;

-- count_throughput: what a batch brought, on the account of this minute. The last statement of its transaction.
INSERT INTO throughput AS t (minute, blocks, characters) VALUES (date_trunc('minute', now()), %(blocks)s, %(characters)s)
ON CONFLICT (minute) DO UPDATE SET blocks = t.blocks + excluded.blocks, characters = t.characters + excluded.characters;

-- close_minutes: minutes of which nothing was counted were empty; whether work waits is noted with the last one. Of others
-- that nobody looked at it isn't known, so they don't count as busy.
INSERT INTO throughput AS t (minute, waiting)
SELECT m, m = date_trunc('minute', now()) - interval '1 minute' AND EXISTS (
    SELECT FROM blocks k JOIN jobs j USING (job_id)
    WHERE k.state IN ('PENDING', 'CLAIMED', 'PROCESSING') AND k.batch IS NOT NULL AND j.state = 'RUNNING'
) FROM generate_series(
    greatest((SELECT max(minute) FROM throughput WHERE waiting IS NOT NULL), date_trunc('minute', now()) - interval '1 hour'),
    date_trunc('minute', now()) - interval '1 minute', '1 minute'
) AS m
ON CONFLICT (minute) DO UPDATE SET waiting = excluded.waiting WHERE t.waiting IS NULL;

-- throughput: the last minutes, the newest first.
SELECT minute, blocks, characters, waiting FROM throughput WHERE waiting IS NOT NULL ORDER BY minute DESC LIMIT %(limit)s;

-- forget_throughput: minutes of long ago.
DELETE FROM throughput WHERE minute < now() - interval '30 days';

-- ledger_identity: which ledger this is, how far its tokens have come, and whether the store has a mark of it.
SELECT i.ledger_id, i.generation, (SELECT last_value FROM fencing_tokens) AS token, i.marked FROM ledger_identity i;

-- flush_ledger: at its commit everything is on disk that was written to the log before it, whoever wrote it.
SELECT pg_logical_emit_message(true, 'tradu', 'mark');

-- mark_ledger: the store has a mark of this ledger.
UPDATE ledger_identity SET marked = true WHERE NOT marked;

-- renew_ledger: a new generation, whose tokens begin above these.
UPDATE ledger_identity SET ledger_id = %(ledger_id)s, generation = %(generation)s, marked = false
RETURNING setval('fencing_tokens', greatest(%(token)s, (SELECT last_value FROM fencing_tokens)) + 1000);

-- running_jobs: jobs that have not ended.
SELECT job_id FROM jobs WHERE state IN ('DEFERRED', 'ADMITTED', 'RUNNING');

-- partitions: every partition, and tables that were one and are not dropped yet, by month.
SELECT p.relname::text AS parent, c.relname::text AS name, right(c.relname, 7) AS suffix,
       CASE WHEN i.inhrelid IS NULL THEN 'detached' WHEN i.inhdetachpending THEN 'detaching' ELSE 'attached' END AS attachment,
       greatest(c.reltuples, 0)::bigint AS rows, pg_total_relation_size(c.oid) AS size_bytes
FROM pg_partitioned_table t JOIN pg_class p ON p.oid = t.partrelid
JOIN pg_class c ON c.relkind = 'r' AND c.relnamespace = p.relnamespace AND c.relname ~ ('^' || p.relname || '_\d{4}_\d{2}$')
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = p.oid
WHERE pg_table_is_visible(p.oid) ORDER BY 3, 1;

-- missing_partitions: tables that have no partition for a month.
SELECT missing_partitions(%(suffix)s);

-- jobs_of_months: how many jobs each of these months has, how many are hot, and how many some process works on.
SELECT m.first, count(j.job_id) AS jobs, count(*) FILTER (WHERE j.residence = 'hot') AS hot,
       count(*) FILTER (WHERE EXISTS (SELECT FROM stage_leases s WHERE s.job_id = j.job_id AND s.lease_until > now())) AS held
FROM unnest(%(firsts)s::uuid[], %(lasts)s::uuid[]) AS m (first, last)
LEFT JOIN jobs j ON j.job_id >= m.first AND j.job_id < m.last GROUP BY m.first;

-- lock_partitions: whether this session alone makes and drops partitions, until it ends.
SELECT pg_try_advisory_lock(hashtext('tradu.ensure_partitions'));

-- oldest_transaction: the session whose transaction is the oldest of this database, its own apart.
SELECT application_name AS application, pid, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds,
       CASE WHEN starts_with(state, 'idle in transaction') THEN extract(epoch FROM clock_timestamp() - state_change)::float8
            ELSE 0 END AS idle_seconds
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
ORDER BY xact_start LIMIT 1;

-- worst_table: the table with the most dead rows, and those of all tables.
SELECT relname::text AS name, n_dead_tup AS dead, n_live_tup AS live, greatest(last_vacuum, last_autovacuum) AS vacuumed_at,
       (sum(n_dead_tup) OVER ())::bigint AS all_dead
FROM pg_stat_user_tables ORDER BY n_dead_tup DESC, relname LIMIT 1;

-- take_upkeep: whether it is time for something that is done now and then, by one process alone.
INSERT INTO upkeep (name) VALUES (%(name)s)
ON CONFLICT (name) DO UPDATE SET at = now() WHERE upkeep.at < now() - make_interval(secs => %(seconds)s) RETURNING name;

-- place_of_batch: where the source of a batch lies.
SELECT part, row_group FROM batches WHERE job_id = %(job_id)s AND batch = %(batch)s;

-- settle_letters: letters of a job whose blocks are all tried again.
UPDATE dead_letters SET decision = 'retry', decided_by = 'a new run', decided_at = now()
WHERE job_id = %(job_id)s AND entity = 'block' AND decision IS NULL;

-- idle_jobs: jobs in these states on which nobody has worked for so long (no stage, no worker, no history), with their runs.
SELECT j.job_id, j.run_id FROM jobs j
WHERE j.state = ANY(%(states)s) AND coalesce(j.started_at, j.created_at) < now() - make_interval(secs => %(seconds)s)
  AND NOT EXISTS (SELECT FROM stage_leases s WHERE s.job_id = j.job_id AND s.lease_until > now() - make_interval(secs => %(seconds)s))
  AND NOT EXISTS (SELECT FROM blocks k WHERE k.job_id = j.job_id AND k.updated_at > now() - make_interval(secs => %(seconds)s)
                  AND k.state IN ('PENDING', 'CLAIMED', 'PROCESSING', 'VALIDATING'))
  AND NOT EXISTS (SELECT FROM history h WHERE h.job_id = j.job_id AND h.entity_id = j.job_id::text
                  AND h.at > now() - make_interval(secs => %(seconds)s));

-- end_lost_job: a job that this run has left behind; not one that another run has taken up meanwhile.
UPDATE jobs SET state = 'ERROR', reason = %(reason)s, finished_at = now()
WHERE job_id = %(job_id)s AND run_id = %(run_id)s AND state IN ('DEFERRED', 'ADMITTED', 'RUNNING') RETURNING job_id;

-- archive_candidates: a page of the jobs that have ended and are not gone yet, or one job, with what the policy looks at.
SELECT j.job_id, j.state, j.residence, j.legal_hold, greatest(coalesce(j.finished_at, j.created_at), a.restored_at) AS ended_at,
       coalesce(a.hot_bytes, 0) AS size_bytes, CASE j.residence WHEN 'hot' THEN true WHEN 'purged' THEN false
       ELSE a.cleared_at IS NOT NULL END AS cleared,
       (SELECT min(rollout_id) FROM rollout_jobs JOIN rollouts r USING (rollout_id) WHERE job_id = j.job_id AND r.state = 'RUNNING') AS rollout
FROM jobs j LEFT JOIN archives a USING (job_id)
WHERE CASE WHEN %(job_id)s::uuid IS NULL THEN j.job_id > %(after)s ELSE j.job_id = %(job_id)s END
  AND j.state IN ('COMPLETED', 'PARTIAL', 'ERROR', 'CANCELED') AND j.idempotency_key <> 'purged ' || j.job_id
ORDER BY j.job_id LIMIT %(limit)s;

-- archives: the catalogue of archives, the newest first, or that of one job.
SELECT a.*, j.tenant, j.residence, j.legal_hold,
       (SELECT min(rollout_id) FROM rollout_jobs JOIN rollouts r USING (rollout_id) WHERE job_id = j.job_id AND r.state = 'RUNNING') AS rollout
FROM archives a JOIN jobs j USING (job_id)
WHERE %(job_id)s::uuid IS NULL OR a.job_id = %(job_id)s ORDER BY a.made_at DESC, a.job_id LIMIT %(limit)s OFFSET %(offset)s;

-- kept_jobs: jobs that stay where they are, however old: under legal hold, or part of a rollout that is not decided.
SELECT j.job_id, j.tenant, j.residence, j.legal_hold, r.rollout FROM jobs j LEFT JOIN (
    SELECT job_id, min(rollout_id) AS rollout FROM rollout_jobs JOIN rollouts USING (rollout_id) WHERE state = 'RUNNING' GROUP BY 1
) AS r USING (job_id)
WHERE (j.legal_hold OR r.rollout IS NOT NULL) AND j.residence <> 'purged' ORDER BY j.job_id LIMIT %(limit)s;

-- entered_manifest: the checksum of the manifest of a job's archive.
SELECT manifest_sha256 FROM archives WHERE job_id = %(job_id)s;

-- enter_archive: an archive that was verified; one of a job that was restored is replaced.
INSERT INTO archives (job_id, format, objects, blocks, hot_bytes, cold_bytes, manifest_sha256, manifest_bytes)
VALUES (%(job_id)s, %(format)s, %(objects)s, %(blocks)s, %(hot_bytes)s, %(cold_bytes)s, %(manifest_sha256)s, %(manifest_bytes)s)
ON CONFLICT (job_id) DO UPDATE SET format = excluded.format, objects = excluded.objects, blocks = excluded.blocks,
    hot_bytes = excluded.hot_bytes, cold_bytes = excluded.cold_bytes, manifest_sha256 = excluded.manifest_sha256,
    manifest_bytes = excluded.manifest_bytes, made_at = now(), cleared_at = NULL, restored_at = NULL, scrubbed_at = NULL;

-- enter_documents: the documents of a job that is being archived.
INSERT INTO archived_documents (job_id, document_id, state)
SELECT job_id, document_id, state FROM documents WHERE job_id = %(job_id)s
ON CONFLICT (job_id, document_id) DO UPDATE SET state = excluded.state;

-- reside: where the bytes of a job lie.
UPDATE jobs SET residence = %(residence)s, archived_at = CASE WHEN %(residence)s <> 'hot' THEN coalesce(archived_at, now()) END
WHERE job_id = %(job_id)s;

-- clear_archive: nothing of an archived job lies in hot any more.
UPDATE archives SET cleared_at = now() WHERE job_id = %(job_id)s AND cleared_at IS NULL;

-- unclear_archive: rows or objects of an archived job are about to come back to hot.
UPDATE archives SET cleared_at = NULL WHERE job_id = %(job_id)s;

-- restored_archive: an archived job is back in hot; its archive stays until it is archived anew.
UPDATE archives SET restored_at = now() WHERE job_id = %(job_id)s;

-- leave_documents: the documents of a job that is not archived any more.
DELETE FROM archived_documents WHERE job_id = %(job_id)s;

-- has_history: whether a job has rows in hot. In the order of the index: what was removed before it is not waded through.
SELECT FROM history WHERE job_id = %(job_id)s ORDER BY entity_id LIMIT 1;

-- lock_raw: nobody registers a document before this transaction ends.
SELECT pg_advisory_xact_lock(hashtext('tradu.raw'));

-- share_raw: documents are registered, and none is cleared away before this transaction ends.
SELECT pg_advisory_xact_lock_shared(hashtext('tradu.raw'));

-- hold_job: puts a job under legal hold, or releases it; not one that is being removed for ever.
UPDATE jobs SET legal_hold = %(legal_hold)s WHERE job_id = %(job_id)s AND residence <> 'purged' RETURNING job_id;

-- select_archived: archived jobs, oldest first: one, those that have a document, those made in a span of time.
SELECT j.job_id FROM jobs j
WHERE j.residence IN ('warm', 'cold') AND (%(job_id)s::uuid IS NULL OR j.job_id = %(job_id)s)
  AND (%(since)s::timestamptz IS NULL OR j.created_at >= %(since)s) AND (%(until)s::timestamptz IS NULL OR j.created_at < %(until)s)
  AND (%(document_id)s::text IS NULL OR EXISTS (
      SELECT FROM archived_documents d WHERE d.job_id = j.job_id AND d.document_id = %(document_id)s))
ORDER BY j.job_id;

-- tiers: jobs and bytes of each tier, and what the jobs of archives take in hot.
SELECT j.residence, count(*), sum(a.cold_bytes), sum(a.hot_bytes) FROM archives a JOIN jobs j USING (job_id)
WHERE j.residence IN ('warm', 'cold') GROUP BY 1
UNION ALL
SELECT 'hot', (SELECT count(*) FROM jobs WHERE residence = 'hot'), h.bytes, h.bytes FROM (
    SELECT (SELECT coalesce(sum(size_bytes), 0) FROM objects)
         + (SELECT coalesce(sum(size_bytes), 0) FROM (SELECT DISTINCT document_id, size_bytes FROM documents) AS d)
         + (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c
            WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace) AS bytes
) AS h;

-- weigh_job: objects and bytes of a job, in hot or in its archive.
SELECT count(*) + coalesce((SELECT objects FROM archives WHERE job_id = %(job_id)s), 0),
       coalesce(sum(size_bytes), 0)::bigint + coalesce((SELECT cold_bytes FROM archives WHERE job_id = %(job_id)s), 0)
FROM objects WHERE job_id = %(job_id)s;

-- forget_incidents: incidents of a job that is removed for ever.
DELETE FROM incidents WHERE job_id = %(job_id)s;

-- forget_archive: the archive of a job that is removed for ever.
DELETE FROM archives WHERE job_id = %(job_id)s;

-- condemn_job: a job is about to be removed for ever: it can't be held any more, nor restored.
UPDATE jobs SET residence = 'purged' WHERE job_id = %(job_id)s AND NOT legal_hold RETURNING job_id;

-- bury_job: a job that was removed for ever keeps its number and its state, and no words of its request.
UPDATE jobs SET tenant = 'erased', documents = '{}', options = '{}', reason = NULL, request_id = '', run_id = NULL,
       idempotency_key = 'purged ' || job_id WHERE job_id = %(job_id)s;

-- certify_erasure: the certificate of what was removed for ever; once, where nothing was left to be removed.
INSERT INTO erasures (kind, subject_sha256, counts, by) SELECT %(kind)s, %(subject_sha256)s, %(counts)s, %(by)s
WHERE %(removed)s OR NOT EXISTS (SELECT FROM erasures WHERE kind = %(kind)s AND subject_sha256 = %(subject_sha256)s);

-- documents_of_job_alone: documents of a job, in hot or in its archive, that no other job has.
SELECT document_id FROM (
    SELECT document_id FROM documents WHERE job_id = %(job_id)s
    UNION SELECT document_id FROM archived_documents WHERE job_id = %(job_id)s
) AS own
WHERE NOT EXISTS (SELECT FROM documents d WHERE d.document_id = own.document_id AND d.job_id <> %(job_id)s)
  AND NOT EXISTS (SELECT FROM archived_documents d WHERE d.document_id = own.document_id AND d.job_id <> %(job_id)s);

-- documents_of_job: documents of a job, in hot or in its archive.
SELECT document_id FROM documents WHERE job_id = %(job_id)s
UNION SELECT document_id FROM archived_documents WHERE job_id = %(job_id)s;

-- erasures: certificates of what was removed for ever, the newest first.
SELECT * FROM erasures ORDER BY erasure_id DESC LIMIT %(limit)s;

-- archives_to_scrub: archives of jobs that lie there, those first that were looked at longest ago.
SELECT a.job_id, a.manifest_sha256, a.manifest_bytes FROM archives a JOIN jobs j USING (job_id)
WHERE j.residence IN ('warm', 'cold') ORDER BY a.scrubbed_at NULLS FIRST, a.job_id LIMIT %(limit)s;

-- scrubbed: an archive was looked at.
UPDATE archives SET scrubbed_at = now() WHERE job_id = %(job_id)s;

-- jobs_to_erase: jobs of a tenant that are not gone, or that have a document, in hot or in their archives.
SELECT job_id, state, legal_hold FROM jobs
WHERE idempotency_key <> 'purged ' || job_id AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
  AND (%(document_id)s::text IS NULL OR job_id IN (
      SELECT job_id FROM documents WHERE document_id = %(document_id)s
      UNION SELECT job_id FROM archived_documents WHERE document_id = %(document_id)s))
ORDER BY job_id;

-- replace_object: an object that was written anew without something that was erased.
UPDATE objects SET sha256 = %(sha256)s, size_bytes = %(size_bytes)s WHERE job_id = %(job_id)s AND object_key = %(object_key)s;

-- forget_known: segments that are known from an object: its rows have other numbers now.
DELETE FROM known_segments USING results r
WHERE known_segments.result_id = r.result_id AND r.job_id = %(job_id)s AND r.object_key = %(object_key)s;

-- erase_history: what happened to a document that is erased, and to its blocks. Before these are gone.
DELETE FROM history AS t USING (
    SELECT block_id::text AS id FROM blocks WHERE job_id = %(job_id)s AND document_id = %(document_id)s UNION ALL SELECT %(document_id)s
) AS gone WHERE t.job_id = %(job_id)s AND t.entity_id = gone.id;

-- erase_letters: dead letters of a document that is erased, and of its blocks. Before these are gone.
DELETE FROM dead_letters AS t USING (
    SELECT block_id::text AS id FROM blocks WHERE job_id = %(job_id)s AND document_id = %(document_id)s UNION ALL SELECT %(document_id)s
) AS gone WHERE t.job_id = %(job_id)s AND t.entity_id = gone.id;

-- erase_incidents: incidents of a document that is erased, and of its blocks. Before these are gone.
DELETE FROM incidents AS t USING (
    SELECT block_id::text AS id FROM blocks WHERE job_id = %(job_id)s AND document_id = %(document_id)s UNION ALL SELECT %(document_id)s
) AS gone WHERE t.job_id = %(job_id)s AND t.entity_id = gone.id;

-- erase_blocks: the blocks of a document that is erased.
DELETE FROM blocks WHERE job_id = %(job_id)s AND document_id = %(document_id)s;

-- erase_outputs: the translations of a document that is erased.
DELETE FROM outputs WHERE job_id = %(job_id)s AND document_id = %(document_id)s;

-- erase_document: a document that is erased.
DELETE FROM documents WHERE job_id = %(job_id)s AND document_id = %(document_id)s;

-- forget_request: a document that is erased is not asked for any more.
UPDATE jobs SET documents = ARRAY(SELECT d FROM unnest(documents) WITH ORDINALITY AS u (d, n) WHERE d <> ALL(%(asked)s::text[]) ORDER BY n)
WHERE job_id = %(job_id)s;

-- count_latencies: how long the blocks of a batch took. After `count_throughput`, in an order that all workers keep.
INSERT INTO latencies AS l (minute, tier, bucket, blocks, seconds)
SELECT date_trunc('minute', now()), u.* FROM unnest(%(tiers)s::text[], %(buckets)s::smallint[], %(blocks)s::bigint[], %(seconds)s::float8[])
     AS u (tier, bucket, blocks, seconds) ORDER BY tier, bucket
ON CONFLICT (minute, tier, bucket) DO UPDATE SET blocks = l.blocks + excluded.blocks, seconds = l.seconds + excluded.seconds;

-- count_failures: blocks whose attempt failed, on the account of this minute.
INSERT INTO throughput AS t (minute, failed) VALUES (date_trunc('minute', now()), %(blocks)s)
ON CONFLICT (minute) DO UPDATE SET failed = t.failed + excluded.failed;

-- forget_latencies: minutes of long ago.
DELETE FROM latencies WHERE minute < now() - interval '1 day';

-- queue_depth: blocks of running jobs that wait and may be claimed, so many of a job at most, how long the oldest has
-- waited, and the ledger's time.
SELECT coalesce(sum(q.blocks), 0)::bigint, coalesce(extract(epoch FROM now() - min(q.oldest)), 0)::float8, extract(epoch FROM now())::float8
FROM jobs j CROSS JOIN LATERAL (
    SELECT count(*) AS blocks, min(updated_at) AS oldest FROM (
        SELECT updated_at FROM blocks k
        WHERE k.job_id = j.job_id AND k.state = 'PENDING' AND k.batch IS NOT NULL AND coalesce(k.not_before <= now(), true)
        LIMIT %(most)s
    ) AS waiting
) AS q
WHERE j.state = 'RUNNING';

-- recent_latencies: how long blocks took in this minute and the last one.
SELECT tier, bucket, sum(blocks)::bigint, sum(seconds) FROM latencies
WHERE minute >= date_trunc('minute', now()) - interval '1 minute' GROUP BY 1, 2 ORDER BY 1, 2;

-- recent_outcomes: blocks that were done, and whose attempt failed, in this minute and the last one.
SELECT coalesce(sum(blocks), 0)::bigint, coalesce(sum(failed), 0)::bigint FROM throughput
WHERE minute >= date_trunc('minute', now()) - interval '1 minute';

-- lead: the lease of the leading controller, where it has run out, or is still ours; a new leader has a new epoch.
UPDATE controller SET epoch = CASE WHEN epoch = %(epoch)s AND holder = %(holder)s THEN epoch ELSE epoch + 1 END,
       holder = %(holder)s, lease_until = now() + make_interval(secs => %(lease_seconds)s)
WHERE lease_until < now() OR (epoch = %(epoch)s AND holder = %(holder)s)
RETURNING epoch;

-- step_down: a controller that ends leaves the lead to whoever comes next.
UPDATE controller SET lease_until = now() WHERE epoch = %(epoch)s AND holder = %(holder)s;

-- leader: who leads, under which epoch, and for how many seconds yet.
SELECT holder, epoch, extract(epoch FROM lease_until - now())::float8 FROM controller WHERE lease_until > now();

-- pools: every pool, with its times as the ledger's clock has them.
SELECT pool, wanted, epoch, paused, set_by, direction, extract(epoch FROM changed_at)::float8 AS changed_at,
       extract(epoch FROM spare_since)::float8 AS spare_since, extract(epoch FROM decided_at)::float8 AS decided_at,
       extract(epoch FROM now() - roll_at)::float8 AS roll_age_seconds
FROM pools ORDER BY pool;

-- agents: every agent, and for how long it has not been seen.
SELECT agent, pool, prefix, capacity, running, to_roll, extract(epoch FROM started_at)::float8 AS started_at,
       extract(epoch FROM now() - seen_at)::float8 AS unseen_seconds
FROM agents ORDER BY agent;

-- see_agent: an agent says that it lives, and what it has.
INSERT INTO agents (agent, pool, prefix, capacity, running, to_roll)
VALUES (%(agent)s, %(pool)s, %(prefix)s, %(capacity)s, %(running)s, %(to_roll)s)
ON CONFLICT (agent) DO UPDATE SET pool = excluded.pool, prefix = excluded.prefix, capacity = excluded.capacity,
    running = excluded.running, to_roll = excluded.to_roll, seen_at = now(),
    started_at = CASE WHEN %(first)s THEN now() ELSE agents.started_at END;

-- forget_agents: agents that are gone.
DELETE FROM agents WHERE seen_at < now() - interval '1 day';

-- want: what the leader has decided for a pool that nobody has paused; refused where another one leads by now.
INSERT INTO pools AS p (pool, wanted, epoch, direction, changed_at, spare_since)
VALUES (%(pool)s, %(wanted)s, %(epoch)s, %(direction)s, to_timestamp(%(changed_at)s), to_timestamp(%(spare_since)s))
ON CONFLICT (pool) DO UPDATE SET wanted = excluded.wanted, epoch = excluded.epoch, direction = excluded.direction,
    changed_at = excluded.changed_at, spare_since = excluded.spare_since, decided_at = now()
WHERE NOT p.paused;

-- add_decision: what was decided, where it differs from the last decision about the pool, or that is a minute old.
INSERT INTO scale_decisions (pool, epoch, before, wanted, rule, reason, inputs)
SELECT %(pool)s, %(epoch)s, %(before)s, %(wanted)s, %(rule)s, %(reason)s, %(inputs)s
WHERE NOT EXISTS (
    SELECT FROM (SELECT * FROM scale_decisions WHERE pool = %(pool)s ORDER BY decision_id DESC LIMIT 1) AS last
    WHERE last.rule = %(rule)s AND last.wanted = %(wanted)s AND last.epoch = %(epoch)s AND last.at > now() - interval '1 minute'
);

-- decisions_about: the newest decisions about a pool.
SELECT at, pool, epoch, before, wanted, rule, reason, inputs FROM scale_decisions WHERE pool = %(pool)s
ORDER BY decision_id DESC LIMIT %(limit)s;

-- forget_decisions: decisions of long ago.
DELETE FROM scale_decisions WHERE at < now() - interval '7 days';

-- add_feed_decisions: what was decided about batches at the cluster; a second time adds nothing.
INSERT INTO feed_decisions (job_id, shard, epoch, number, at, pool, before, most, rule, reason, inputs)
SELECT u.job_id, u.shard, u.epoch, u.number, clock_timestamp() - make_interval(secs => u.age), u.pool, u.before, u.most, u.rule,
       u.reason, u.inputs::jsonb
FROM unnest(%(job_ids)s::uuid[], %(shards)s::int[], %(epochs)s::int[], %(numbers)s::bigint[], %(ages)s::float8[], %(pools)s::text[],
            %(befores)s::int[], %(limits)s::int[], %(rules)s::text[], %(reasons)s::text[], %(inputs)s::text[])
     AS u (job_id, shard, epoch, number, age, pool, before, most, rule, reason, inputs)
ON CONFLICT DO NOTHING;

-- feed_decisions: the newest decisions about batches at the cluster, of all jobs or of one.
SELECT at, pool, job_id, shard, epoch, number, before, most, rule, reason, inputs FROM feed_decisions
WHERE %(job_id)s::uuid IS NULL OR job_id = %(job_id)s ORDER BY at DESC, number DESC LIMIT %(limit)s;

-- forget_feed_decisions: decisions of long ago, and more than so many.
DELETE FROM feed_decisions WHERE at <= greatest(
    now() - interval '7 days', (SELECT at FROM feed_decisions ORDER BY at DESC OFFSET %(most)s LIMIT 1)
);

-- set_pool: a person sets the number of workers of a pool, and pauses it.
UPDATE pools SET wanted = %(wanted)s, paused = true, set_by = %(by)s, changed_at = now(), direction = sign(%(wanted)s - wanted),
       epoch = (SELECT epoch FROM controller), decided_at = now()
WHERE pool = %(pool)s RETURNING pool;

-- pause_pool: a person pauses a pool, or lets it be scaled again.
UPDATE pools SET paused = %(paused)s, set_by = CASE WHEN %(paused)s THEN %(by)s END, epoch = (SELECT epoch FROM controller)
WHERE pool = %(pool)s RETURNING pool;

-- roll_pool: a person has all workers of a pool started again.
UPDATE pools SET roll_at = now(), epoch = (SELECT epoch FROM controller) WHERE pool = %(pool)s RETURNING pool;

-- give_up_blocks: what instances hold that are about to be stopped goes back untouched: the fault is not the blocks', and
-- their budget is not spent. What such an instance still brings is refused as stale.
UPDATE blocks SET state = 'PENDING', lease_until = NULL, attempt = blocks.attempt - 1, reason = 'its worker was drained', updated_at = now()
FROM (
    SELECT k.job_id, k.block_id FROM blocks k JOIN jobs j USING (job_id)
    WHERE k.state IN ('CLAIMED', 'PROCESSING') AND starts_with(k.claimed_by, %(instance)s) AND j.state = 'RUNNING'
    ORDER BY k.job_id, k.block_id FOR UPDATE OF k SKIP LOCKED
) AS held
WHERE blocks.job_id = held.job_id AND blocks.block_id = held.block_id
RETURNING blocks.block_id;
