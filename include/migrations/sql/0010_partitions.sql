-- Partitions are attached to their tables, which waits for nobody who reads or writes these; CREATE TABLE PARTITION OF would
-- lock them against everyone. What was detached and not dropped, for whatever has killed that, is attached again.

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

CREATE FUNCTION missing_partitions(suffix text) RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT p.relname::text FROM pg_partitioned_table t JOIN pg_class p ON p.oid = t.partrelid
    WHERE pg_table_is_visible(p.oid) AND NOT EXISTS (
        SELECT FROM pg_inherits i
        WHERE i.inhparent = p.oid AND i.inhrelid = to_regclass(quote_ident(p.relname || suffix)) AND NOT i.inhdetachpending
    )
    ORDER BY 1
$$;
COMMENT ON FUNCTION missing_partitions IS 'Partitioned tables that have no partition of this name, or one that is being detached';
