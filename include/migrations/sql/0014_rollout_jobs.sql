-- Which jobs a rollout has seen: until it is decided they stay in hot (docs/archive.md).

CREATE TABLE rollout_jobs (
    job_id     uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    rollout_id bigint NOT NULL REFERENCES rollouts ON DELETE CASCADE,
    PRIMARY KEY (job_id, rollout_id)
);
CREATE INDEX rollout_jobs_of ON rollout_jobs (rollout_id);
COMMENT ON TABLE rollout_jobs IS 'Jobs that have blocks on either side of a rollout';

-- Jobs of rollouts that run now: the ledger names what the candidate made, and what it failed.
INSERT INTO rollout_jobs
SELECT DISTINCT k.job_id, r.rollout_id FROM rollouts r JOIN blocks k ON k.updated_at >= r.created_at
WHERE r.state = 'RUNNING' AND k.result IS NOT NULL
  AND (r.candidate = ANY(string_to_array(array_to_string(k.models, '+'), '+'))
       OR starts_with(k.reason, r.candidate || ' failed its checks'));
