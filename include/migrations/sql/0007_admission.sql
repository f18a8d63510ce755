-- Jobs that wait for their turn.

ALTER TABLE jobs ADD COLUMN priority smallint NOT NULL DEFAULT 5 CHECK (priority BETWEEN 0 AND 10),
    ADD COLUMN characters bigint;
COMMENT ON COLUMN jobs.characters IS 'Characters of source text times target languages; null: not counted yet';
UPDATE jobs SET characters = k.characters
FROM (SELECT job_id, sum(characters) AS characters FROM blocks GROUP BY job_id) AS k WHERE jobs.job_id = k.job_id;

CREATE INDEX jobs_open ON jobs (state, tenant) WHERE state IN ('DEFERRED', 'ADMITTED', 'RUNNING');
CREATE INDEX jobs_started ON jobs (started_at);

CREATE TABLE admission (
    id         boolean PRIMARY KEY DEFAULT true CHECK (id),
    is_full    boolean NOT NULL DEFAULT false,
    reason     text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE admission IS 'One row: whether the high-water mark was reached; its lock makes turns one at a time';
INSERT INTO admission DEFAULT VALUES;
