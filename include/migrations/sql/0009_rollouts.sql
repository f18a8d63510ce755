-- Rollouts: a candidate takes a growing share of a model's blocks, is compared with it, and is promoted or rolled back.

CREATE TABLE rollouts (
    rollout_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incumbent  text NOT NULL,
    candidate  text NOT NULL,
    shares     double precision[] NOT NULL CHECK (cardinality(shares) > 0),
    step       integer NOT NULL DEFAULT 0,
    limits     jsonb NOT NULL,
    state      text NOT NULL DEFAULT 'RUNNING' CHECK (state IN ('RUNNING', 'PROMOTED', 'ROLLED_BACK', 'ABORTED')),
    reason     text,
    started_by text NOT NULL DEFAULT actor(),
    created_at timestamptz NOT NULL DEFAULT now(),
    step_at    timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz
);
CREATE UNIQUE INDEX rollouts_in_effect ON rollouts (incumbent) WHERE state IN ('RUNNING', 'PROMOTED');
COMMENT ON TABLE rollouts IS 'Which model takes blocks of which other one: PROMOTED takes all of them. Both by name and version';

CREATE TABLE rollout_evidence (
    rollout_id    bigint NOT NULL REFERENCES rollouts ON DELETE CASCADE,
    step          integer NOT NULL,
    side          text NOT NULL CHECK (side IN ('candidate', 'control')),
    blocks        bigint NOT NULL,
    failed        bigint NOT NULL,
    segments      bigint NOT NULL,
    characters    bigint NOT NULL,
    score_sum     double precision NOT NULL,
    score_squares double precision NOT NULL,
    timed         bigint NOT NULL,
    seconds       double precision NOT NULL,
    cost          double precision NOT NULL,
    failures      jsonb NOT NULL,
    PRIMARY KEY (rollout_id, step, side)
);
COMMENT ON TABLE rollout_evidence IS 'What was seen of the blocks of each side in a step; timed: characters that the seconds and the cost were spent on';

CREATE TABLE rollout_decisions (
    decision_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rollout_id  bigint NOT NULL REFERENCES rollouts ON DELETE CASCADE,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    step        integer NOT NULL,
    result      text NOT NULL,
    rule        text NOT NULL,
    evidence    jsonb NOT NULL,
    actor       text NOT NULL DEFAULT actor()
);
CREATE INDEX rollout_decisions_of ON rollout_decisions (rollout_id, decision_id);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON rollout_decisions FOR EACH ROW EXECUTE FUNCTION append_only();
COMMENT ON TABLE rollout_decisions IS 'What was decided about a rollout, by which rule, and what was known then: append-only';
