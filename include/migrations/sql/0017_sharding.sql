-- How large the shards of a job are follows from what was measured: chosen once, and kept.

ALTER TABLE jobs ADD COLUMN sharding jsonb;
COMMENT ON COLUMN jobs.sharding IS 'How many shards the job has, by which rule, on which figures; null: not planned yet';
