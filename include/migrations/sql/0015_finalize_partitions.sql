-- A partition that is half detached, for whatever did it was killed, is detached to its end and attached again: who brings a
-- job back needs its month now, and not when the watchdog has come by.

CREATE OR REPLACE FUNCTION ensure_partitions(moment timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first  timestamptz := date_trunc('month', moment, 'UTC');
    after  timestamptz := (date_trunc('month', moment, 'UTC') AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC';
    suffix text := to_char(moment AT TIME ZONE 'UTC', '_YYYY_MM');
    parent text;
BEGIN
    IF NOT EXISTS (SELECT FROM missing_partitions(suffix)) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('tradu.ensure_partitions'));
    FOR parent IN SELECT * FROM missing_partitions(suffix) LOOP
        IF EXISTS (SELECT FROM pg_inherits WHERE inhparent = parent::regclass AND inhdetachpending
                   AND inhrelid = to_regclass(quote_ident(parent || suffix))) THEN
            EXECUTE format('ALTER TABLE %I DETACH PARTITION %I FINALIZE', parent, parent || suffix);
        END IF;
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I (LIKE %I INCLUDING ALL)', parent || suffix, parent);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       parent, parent || suffix, first_job_id(first), first_job_id(after));
    END LOOP;
    EXECUTE format('CREATE OR REPLACE TRIGGER not_truncated BEFORE TRUNCATE ON %I
                    FOR EACH STATEMENT EXECUTE FUNCTION append_only()', 'history' || suffix);
    EXECUTE format('CREATE OR REPLACE TRIGGER blocks_added AFTER INSERT ON %I REFERENCING NEW TABLE AS new_rows
                    FOR EACH STATEMENT EXECUTE FUNCTION blocks_added()', 'blocks' || suffix);
    EXECUTE format('CREATE OR REPLACE TRIGGER blocks_moved AFTER UPDATE ON %I
                    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
                    FOR EACH STATEMENT EXECUTE FUNCTION blocks_moved()', 'blocks' || suffix);
END $$;
