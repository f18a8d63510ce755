-- Rows that come back from a dump (an archive, the manifests of a job) bring their history with them: what the archive
-- role inserts is no transition. Updates are checked and written to history whoever makes them.

CREATE FUNCTION is_loading() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT current_user = 'tradu_archive'
$$;
COMMENT ON FUNCTION is_loading IS 'Not by membership: whoever loads must have said SET ROLE tradu_archive';

CREATE OR REPLACE FUNCTION jobs_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text := CASE TG_OP WHEN 'INSERT' THEN '' ELSE OLD.state END;
BEGIN
    IF before = NEW.state OR TG_OP = 'INSERT' AND is_loading() THEN
        RETURN NULL;
    END IF;
    IF NOT EXISTS (SELECT FROM transitions WHERE entity = 'job' AND from_state = before AND to_state = NEW.state) THEN
        PERFORM refuse_transition('job', NEW.job_id::text, before, NEW.state);
    END IF;
    INSERT INTO history VALUES (NEW.job_id, 'job', NEW.job_id, clock_timestamp(), before, NEW.state,
                                actor(), NULL, NEW.reason, NEW.request_id);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION documents_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text := CASE TG_OP WHEN 'INSERT' THEN '' ELSE OLD.state END;
BEGIN
    IF before = NEW.state OR TG_OP = 'INSERT' AND is_loading() THEN
        RETURN NULL;
    END IF;
    IF NOT EXISTS (SELECT FROM transitions WHERE entity = 'document' AND from_state = before AND to_state = NEW.state) THEN
        PERFORM refuse_transition('document', NEW.document_id, before, NEW.state);
    END IF;
    INSERT INTO history VALUES (NEW.job_id, 'document', NEW.document_id, clock_timestamp(), before, NEW.state,
                                actor(), NULL, NEW.reason, request_id());
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION blocks_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF is_loading() THEN
        RETURN NULL;
    END IF;
    INSERT INTO history
    SELECT n.job_id, 'block', n.block_id, clock_timestamp(), '', coalesce(t.to_state, refuse_transition('block', n.block_id::text, '', n.state)),
           actor(), 0, NULL, request_id()
    FROM new_rows n LEFT JOIN transitions t ON t.entity = 'block' AND t.from_state = '' AND t.to_state = n.state;
    RETURN NULL;
END $$;
