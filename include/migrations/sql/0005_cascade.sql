-- What the cascade needs: budgets, and a meter of what each tier took.

ALTER TABLE jobs ADD COLUMN max_cost double precision;
COMMENT ON COLUMN jobs.max_cost IS 'What the job may cost; null: whatever it takes';

CREATE TABLE spending (
    job_id     uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    day        date NOT NULL,
    tier       text NOT NULL,
    models     text NOT NULL,
    texts      bigint NOT NULL,
    characters bigint NOT NULL,
    climbed    bigint NOT NULL,
    stayed     bigint NOT NULL,
    seconds    double precision NOT NULL,
    cost       double precision NOT NULL,
    PRIMARY KEY (job_id, day, models)
);
CREATE INDEX spending_of_day ON spending (day);
COMMENT ON TABLE spending IS 'What the models of each route took for a job, rejected attempts included; climbed: segments that came up to it';
