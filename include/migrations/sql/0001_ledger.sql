-- The ledger. Everything that grows with the work is partitioned by the month of its job, which the job's
-- UUIDv7 carries: a partition is a range of job ids, and no column beside the id is needed.

CREATE TABLE transitions (
    entity     text NOT NULL,
    from_state text NOT NULL,
    to_state   text NOT NULL,
    PRIMARY KEY (entity, from_state, to_state)
);
COMMENT ON TABLE transitions IS 'Legal transitions, written by the migration from tradu.ledger.states';

CREATE TABLE jobs (
    job_id          uuid PRIMARY KEY,
    tenant          text NOT NULL DEFAULT 'default',
    region          text NOT NULL DEFAULT 'default',
    idempotency_key text NOT NULL,
    request_id      text NOT NULL,
    run_id          text,
    state           text NOT NULL,
    source          text NOT NULL,
    targets         text[] NOT NULL,
    profile         text NOT NULL,
    documents       text[] NOT NULL,
    options         jsonb NOT NULL DEFAULT '{}',
    reason          text,
    cost_estimate   double precision,
    created_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    UNIQUE (tenant, idempotency_key)
);
CREATE INDEX jobs_by_time ON jobs (created_at DESC);

CREATE TABLE documents (
    job_id              uuid NOT NULL,
    document_id         text NOT NULL,
    paths               text[] NOT NULL,
    origin              text NOT NULL,
    format              text,
    source              text,
    language_confidence real,
    size_bytes          bigint NOT NULL,
    segments            bigint NOT NULL DEFAULT 0,
    characters          bigint NOT NULL DEFAULT 0,
    state               text NOT NULL,
    error               text,
    reason              text,
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, document_id)
) PARTITION BY RANGE (job_id);
CREATE INDEX documents_by_content ON documents (document_id);

CREATE TABLE shards (
    job_id       uuid NOT NULL,
    shard        integer NOT NULL,
    epoch        integer NOT NULL DEFAULT 0,
    submitted_at timestamptz,
    PRIMARY KEY (job_id, shard)
) PARTITION BY RANGE (job_id);

CREATE TABLE batches (
    job_id     uuid NOT NULL,
    batch      integer NOT NULL,
    shard      integer,
    source     text NOT NULL,
    target     text NOT NULL,
    part       text NOT NULL,
    row_group  integer NOT NULL,
    characters integer NOT NULL,
    PRIMARY KEY (job_id, batch)
) PARTITION BY RANGE (job_id);
CREATE INDEX batches_by_shard ON batches (job_id, shard);

CREATE SEQUENCE fencing_tokens;

CREATE TABLE blocks (
    job_id        uuid NOT NULL,
    block_id      uuid NOT NULL,
    document_id   text NOT NULL,
    target        text NOT NULL,
    number        integer NOT NULL,
    batch         integer,
    segments      integer NOT NULL,
    characters    integer NOT NULL,
    state         text NOT NULL,
    attempt       smallint NOT NULL DEFAULT 0,
    token         bigint,
    lease_until   timestamptz,
    claimed_by    text,
    processing_at timestamptz,
    validating_at timestamptz,
    result        text,
    models        text[],
    tier          text,
    score         real,
    seconds       real,
    cost          double precision,
    error_class   text,
    reason        text,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, block_id)
) PARTITION BY RANGE (job_id);
CREATE UNIQUE INDEX blocks_in_order ON blocks (job_id, document_id, target, number);
CREATE INDEX blocks_open ON blocks (job_id, batch) WHERE state IN ('PENDING', 'CLAIMED', 'PROCESSING', 'VALIDATING');
COMMENT ON COLUMN blocks.attempt IS 'Attempts that spent retry budget or are running';
COMMENT ON COLUMN blocks.result IS 'Key of the results object in the store that holds the current translation';

CREATE TABLE outputs (
    job_id       uuid NOT NULL,
    document_id  text NOT NULL,
    target       text NOT NULL,
    size_bytes   bigint NOT NULL,
    sha256       text NOT NULL,
    units_in     bigint NOT NULL,
    units_out    bigint NOT NULL,
    segments     bigint NOT NULL,
    translated   bigint NOT NULL,
    untranslated bigint NOT NULL,
    refused      text,
    PRIMARY KEY (job_id, document_id, target)
) PARTITION BY RANGE (job_id);

CREATE TABLE dead_letters (
    job_id      uuid NOT NULL,
    entity      text NOT NULL,
    entity_id   text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    error_class text NOT NULL,
    reason      text NOT NULL,
    evidence    jsonb NOT NULL DEFAULT '{}'
) PARTITION BY RANGE (job_id);
CREATE INDEX dead_letters_of ON dead_letters (job_id, entity_id);

CREATE TABLE history (
    job_id     uuid NOT NULL,
    entity     text NOT NULL,
    entity_id  text NOT NULL,
    at         timestamptz NOT NULL,
    from_state text NOT NULL,
    to_state   text NOT NULL,
    actor      text NOT NULL,
    attempt    smallint,
    reason     text,
    request_id text NOT NULL
) PARTITION BY RANGE (job_id);
CREATE INDEX history_of ON history (job_id, entity_id, at);

-- Translations known already, by content and model: where in the store each one lies.
CREATE TABLE results (
    result_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id     uuid NOT NULL,
    object_key text NOT NULL UNIQUE
);
CREATE TABLE known_segments (
    segment_key bytea PRIMARY KEY,
    result_id   bigint NOT NULL REFERENCES results ON DELETE CASCADE,
    row_number  integer NOT NULL
);
CREATE INDEX known_segments_by_result ON known_segments (result_id);

-- Partitions ---------------------------------------------------------------------------------------------

CREATE FUNCTION first_job_id(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT rpad(lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;

CREATE FUNCTION ensure_partitions(moment timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first  timestamptz := date_trunc('month', moment, 'UTC');
    after  timestamptz := date_trunc('month', moment, 'UTC') + interval '1 month';
    suffix text := to_char(moment AT TIME ZONE 'UTC', '_YYYY_MM');
    parent text;
BEGIN
    IF to_regclass('history' || suffix) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('tradu.ensure_partitions'));
    FOREACH parent IN ARRAY ARRAY['documents', 'shards', 'batches', 'blocks', 'outputs', 'dead_letters', 'history'] LOOP
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                       parent || suffix, parent, first_job_id(first), first_job_id(after));
    END LOOP;
END $$;

-- History and the check of transitions --------------------------------------------------------------------
-- Who moves a row, and for which request, is a property of the transaction: tradu.actor, tradu.request_id.

CREATE FUNCTION actor() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(nullif(current_setting('tradu.actor', true), ''), session_user)
$$;
CREATE FUNCTION request_id() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(current_setting('tradu.request_id', true), '')
$$;

CREATE FUNCTION refuse_transition(entity text, id text, from_state text, to_state text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'illegal transition of % %: % -> %', entity, id, from_state, to_state USING ERRCODE = 'TR001';
END $$;

CREATE FUNCTION jobs_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text := CASE TG_OP WHEN 'INSERT' THEN '' ELSE OLD.state END;
BEGIN
    IF before = NEW.state THEN
        RETURN NULL;
    END IF;
    IF NOT EXISTS (SELECT FROM transitions WHERE entity = 'job' AND from_state = before AND to_state = NEW.state) THEN
        PERFORM refuse_transition('job', NEW.job_id::text, before, NEW.state);
    END IF;
    INSERT INTO history VALUES (NEW.job_id, 'job', NEW.job_id, clock_timestamp(), before, NEW.state,
                                actor(), NULL, NEW.reason, NEW.request_id);
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_moved AFTER INSERT OR UPDATE OF state ON jobs FOR EACH ROW EXECUTE FUNCTION jobs_moved();

CREATE FUNCTION documents_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text := CASE TG_OP WHEN 'INSERT' THEN '' ELSE OLD.state END;
BEGIN
    IF before = NEW.state THEN
        RETURN NULL;
    END IF;
    IF NOT EXISTS (SELECT FROM transitions WHERE entity = 'document' AND from_state = before AND to_state = NEW.state) THEN
        PERFORM refuse_transition('document', NEW.document_id, before, NEW.state);
    END IF;
    INSERT INTO history VALUES (NEW.job_id, 'document', NEW.document_id, clock_timestamp(), before, NEW.state,
                                actor(), NULL, NEW.reason, request_id());
    RETURN NULL;
END $$;
CREATE TRIGGER documents_moved AFTER INSERT OR UPDATE OF state ON documents FOR EACH ROW EXECUTE FUNCTION documents_moved();

CREATE FUNCTION blocks_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history
    SELECT n.job_id, 'block', n.block_id, clock_timestamp(), '', coalesce(t.to_state, refuse_transition('block', n.block_id::text, '', n.state)),
           actor(), 0, NULL, request_id()
    FROM new_rows n LEFT JOIN transitions t ON t.entity = 'block' AND t.from_state = '' AND t.to_state = n.state;
    RETURN NULL;
END $$;
CREATE TRIGGER blocks_added AFTER INSERT ON blocks REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION blocks_added();

-- A block's attempt is closed by one UPDATE that carries the times of the states it went through in the worker:
-- the trigger writes each of those steps, and refuses the row when any step is illegal.
CREATE FUNCTION blocks_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history
    SELECT n.job_id, 'block', n.block_id, step.at, step.from_state,
           coalesce(t.to_state, refuse_transition('block', n.block_id::text, step.from_state, step.to_state)),
           actor(), n.attempt, CASE WHEN step.to_state = n.state THEN n.reason END, request_id()
    FROM new_rows n JOIN old_rows o USING (job_id, block_id)
    CROSS JOIN LATERAL (
        SELECT at, to_state, lag(to_state, 1, o.state) OVER (ORDER BY place) AS from_state
        FROM (VALUES
            (1, 'PENDING', clock_timestamp(), n.state = 'CLAIMED' AND o.state <> 'PENDING'),
            (2, 'PROCESSING', n.processing_at, n.processing_at IS DISTINCT FROM o.processing_at),
            (3, 'VALIDATING', n.validating_at, n.validating_at IS DISTINCT FROM o.validating_at),
            (4, n.state, clock_timestamp(),
             n.state <> CASE WHEN n.validating_at IS DISTINCT FROM o.validating_at THEN 'VALIDATING'
                             WHEN n.processing_at IS DISTINCT FROM o.processing_at THEN 'PROCESSING'
                             WHEN n.state = 'CLAIMED' THEN 'PENDING' ELSE o.state END)
        ) AS steps (place, to_state, at, taken)
        WHERE taken AND at IS NOT NULL
    ) AS step
    LEFT JOIN transitions t ON t.entity = 'block' AND t.from_state = step.from_state AND t.to_state = step.to_state
    WHERE o.state <> n.state OR o.token IS DISTINCT FROM n.token OR o.validating_at IS DISTINCT FROM n.validating_at;
    RETURN NULL;
END $$;
CREATE TRIGGER blocks_moved AFTER UPDATE ON blocks REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION blocks_moved();

CREATE FUNCTION history_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'history is append-only' USING ERRCODE = 'TR002';
END $$;
CREATE TRIGGER history_is_append_only BEFORE UPDATE OR DELETE ON history
    FOR EACH STATEMENT EXECUTE FUNCTION history_is_append_only();
