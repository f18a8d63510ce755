-- What an auditor needs: a history that nobody rewrites, incidents, circuits, checksums of objects, people's decisions.

-- Incidents: what is no transition of a row and must be known all the same ------------------------------------

CREATE TABLE incidents (
    incident_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind        text NOT NULL,
    job_id      uuid,
    entity      text,
    entity_id   text,
    actor       text NOT NULL DEFAULT actor(),
    reason      text NOT NULL,
    request_id  text NOT NULL DEFAULT request_id()
);
CREATE INDEX incidents_of_job ON incidents (job_id, at);
COMMENT ON TABLE incidents IS 'Refused transitions and results, lost instances, circuits, orphans, alerts: append-only';

-- Append-only, whichever table is named: a trigger for each row is cloned to every partition -------------------

CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_user = 'tradu_archive' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'TR002',
        HINT = 'Only the role tradu_archive may delete, and nobody may change, what has been written.';
END $$;
COMMENT ON FUNCTION append_only IS 'Not by membership: whoever deletes must have said SET ROLE tradu_archive';

DROP TRIGGER history_is_append_only ON history;
DROP FUNCTION history_is_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON history FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER not_truncated BEFORE TRUNCATE ON history FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON incidents FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER not_truncated BEFORE TRUNCATE ON incidents FOR EACH STATEMENT EXECUTE FUNCTION append_only();

-- Which models made a translation stands in the history of its block ------------------------------------------

ALTER TABLE history ADD COLUMN detail text;
COMMENT ON COLUMN history.detail IS 'Models and tier of a translation: no text of documents, no names';

CREATE OR REPLACE FUNCTION blocks_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history
    SELECT n.job_id, 'block', n.block_id, step.at, step.from_state,
           coalesce(t.to_state, refuse_transition('block', n.block_id::text, step.from_state, step.to_state)),
           actor(), n.attempt, CASE WHEN step.to_state = n.state THEN n.reason END, request_id(),
           CASE WHEN step.to_state = 'VALIDATING' THEN concat_ws(', ', n.tier, array_to_string(n.models, ', ')) END
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

-- Few rows of a large table that the watchdog looks for every minute.
CREATE INDEX blocks_leased ON blocks (job_id, lease_until) WHERE state IN ('CLAIMED', 'PROCESSING');
CREATE INDEX blocks_failed ON blocks (job_id, attempt) WHERE state = 'PENDING' AND attempt > 0;

-- Tokens ------------------------------------------------------------------------------------------------------
-- A ledger restored to an older state would draw the same numbers again, and a worker of the time before could
-- pass for one of now: the low bits are drawn by lot.

CREATE FUNCTION new_token() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (nextval('fencing_tokens') << 20) | floor(random() * 1048576)::bigint
$$;

-- Objects of the store, with their checksums --------------------------------------------------------------------

CREATE TABLE objects (
    job_id     uuid NOT NULL,
    object_key text NOT NULL,
    sha256     text NOT NULL,
    size_bytes bigint NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, object_key)
) PARTITION BY RANGE (job_id);
COMMENT ON TABLE objects IS 'Every object that a job has in the store; one that is named nowhere is an orphan';

-- Decisions of people -------------------------------------------------------------------------------------------

ALTER TABLE blocks ADD COLUMN profile text;
COMMENT ON COLUMN blocks.profile IS 'The profile a person chose for this block; null: that of its job';

ALTER TABLE dead_letters ADD COLUMN decision text, ADD COLUMN decided_by text, ADD COLUMN decided_at timestamptz;
CREATE INDEX dead_letters_open ON dead_letters (job_id, at) WHERE decision IS NULL;

CREATE TABLE decisions (
    job_id     uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    gate       text NOT NULL,
    decision   text NOT NULL CHECK (decision IN ('accept', 'retry', 'drop')),
    decided_by text NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    question   text,
    used_by    text
);
CREATE INDEX decisions_of ON decisions (job_id, gate, at);
COMMENT ON TABLE decisions IS 'What people decided when a gate had stopped a run';
COMMENT ON COLUMN decisions.question IS 'The run of tradu_decide that asked; null: decided on the command line';
COMMENT ON COLUMN decisions.used_by IS 'The run for which an acceptance holds';
ALTER TABLE jobs ADD COLUMN stopped_by text;
COMMENT ON COLUMN jobs.stopped_by IS 'The gate that stopped the job, while nobody has decided what becomes of it';

-- Circuits ------------------------------------------------------------------------------------------------------

CREATE TABLE circuits (
    name      text PRIMARY KEY,
    failures  integer NOT NULL,
    cause     text NOT NULL,
    openings  integer NOT NULL DEFAULT 0,
    opened_at timestamptz,
    retry_at  timestamptz
);
COMMENT ON TABLE circuits IS 'Failures in a row of a model or the store; opened_at: nothing is claimed for it before retry_at';

-- Instances and throughput ----------------------------------------------------------------------------------------

ALTER TABLE instances ADD COLUMN lost_at timestamptz;

CREATE TABLE throughput (
    minute     timestamptz PRIMARY KEY,
    blocks     integer NOT NULL DEFAULT 0,
    characters bigint NOT NULL DEFAULT 0,
    waiting    boolean
);
COMMENT ON TABLE throughput IS 'What each minute brought, and whether work waited at its end (null: the minute is not over)';

CREATE TABLE upkeep (
    name text PRIMARY KEY,
    at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE upkeep IS 'When something that is done now and then was last begun';

-- Which ledger this is, so that an older state of it, or another one, is told from it ------------------------------

CREATE TABLE ledger_identity (
    ledger_id  uuid NOT NULL DEFAULT gen_random_uuid(),
    generation integer NOT NULL DEFAULT 1,
    marked     boolean NOT NULL DEFAULT false,
    one        boolean PRIMARY KEY DEFAULT true CHECK (one)
);
INSERT INTO ledger_identity DEFAULT VALUES;

-- Partitions: triggers for statements fire only for the table that a statement names, so each partition has its own ---

CREATE OR REPLACE FUNCTION ensure_partitions(moment timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first  timestamptz := date_trunc('month', moment, 'UTC');
    after  timestamptz := date_trunc('month', moment, 'UTC') + interval '1 month';
    suffix text := to_char(moment AT TIME ZONE 'UTC', '_YYYY_MM');
    parent text;
BEGIN
    IF to_regclass('objects' || suffix) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('tradu.ensure_partitions'));
    IF to_regclass('objects' || suffix) IS NOT NULL THEN
        RETURN;
    END IF;
    FOREACH parent IN ARRAY
        ARRAY['documents', 'shards', 'batches', 'blocks', 'outputs', 'dead_letters', 'history', 'objects']
    LOOP
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                       parent || suffix, parent, first_job_id(first), first_job_id(after));
    END LOOP;
    EXECUTE format('CREATE OR REPLACE TRIGGER not_truncated BEFORE TRUNCATE ON %I
                    FOR EACH STATEMENT EXECUTE FUNCTION append_only()', 'history' || suffix);
    EXECUTE format('CREATE OR REPLACE TRIGGER blocks_added AFTER INSERT ON %I REFERENCING NEW TABLE AS new_rows
                    FOR EACH STATEMENT EXECUTE FUNCTION blocks_added()', 'blocks' || suffix);
    EXECUTE format('CREATE OR REPLACE TRIGGER blocks_moved AFTER UPDATE ON %I
                    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
                    FOR EACH STATEMENT EXECUTE FUNCTION blocks_moved()', 'blocks' || suffix);
END $$;

SELECT ensure_partitions(to_date(right(inhrelid::regclass::text, 7), 'YYYY_MM')::timestamp AT TIME ZONE 'UTC')
FROM pg_inherits WHERE inhparent = 'history'::regclass;
