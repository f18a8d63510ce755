-- What recovery needs: leases of stages, a registry of instances, and backoff of blocks.

ALTER TABLE blocks ADD COLUMN not_before timestamptz;
COMMENT ON COLUMN blocks.not_before IS 'A failed block is not tried again before this time';

CREATE TABLE stage_leases (
    job_id      uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    stage       text NOT NULL,
    token       bigint NOT NULL,
    holder      text NOT NULL,
    lease_until timestamptz NOT NULL,
    PRIMARY KEY (job_id, stage)
);
COMMENT ON TABLE stage_leases IS 'Which process works on a stage of a job: Airflow may start one twice';

CREATE TABLE instances (
    instance_id text PRIMARY KEY,
    kind        text NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    seen_at     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE instances IS 'Processes that work on blocks, and when each was last seen alive';
