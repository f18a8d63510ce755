-- How many batches of a shard are at the cluster: what was decided by the feeders on the Dask scheduler, and on what.

CREATE TABLE feed_decisions (
    job_id uuid NOT NULL,
    shard  integer NOT NULL,
    epoch  integer NOT NULL,
    number bigint NOT NULL,
    at     timestamptz NOT NULL,
    pool   text NOT NULL,
    before integer NOT NULL,
    most   integer NOT NULL,
    rule   text NOT NULL,
    reason text NOT NULL,
    inputs jsonb NOT NULL,
    PRIMARY KEY (job_id, shard, epoch, number)
);
CREATE INDEX feed_decisions_at ON feed_decisions (at);
COMMENT ON TABLE feed_decisions IS 'Each change of how many batches of a shard may be at the cluster; steps up that follow one another within seconds are one row';
COMMENT ON COLUMN feed_decisions.number IS 'Of the decision, among those of its scheduler';
