-- Pools of workers: how many are wanted, who decides, what was decided and on what.

CREATE TABLE controller (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch       bigint NOT NULL DEFAULT 0,
    holder      text NOT NULL DEFAULT '',
    lease_until timestamptz NOT NULL DEFAULT '-infinity'
);
COMMENT ON TABLE controller IS 'Which controller leads. Each new leader has a higher epoch, and older ones write nothing more';
INSERT INTO controller DEFAULT VALUES;

CREATE TABLE pools (
    pool        text PRIMARY KEY,
    wanted      integer NOT NULL CHECK (wanted >= 0),
    epoch       bigint NOT NULL,
    paused      boolean NOT NULL DEFAULT false,
    set_by      text,
    direction   smallint NOT NULL DEFAULT 0,
    changed_at  timestamptz NOT NULL DEFAULT now(),
    spare_since timestamptz,
    decided_at  timestamptz NOT NULL DEFAULT now(),
    roll_at     timestamptz
);
COMMENT ON COLUMN pools.set_by IS 'Who has paused the pool, or set its number';
COMMENT ON COLUMN pools.roll_at IS 'Workers that were started before this time are started again, one after another';

CREATE TABLE agents (
    agent      text PRIMARY KEY,
    pool       text NOT NULL,
    prefix     text NOT NULL,
    capacity   integer NOT NULL CHECK (capacity >= 0),
    running    integer NOT NULL DEFAULT 0,
    to_roll    integer NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE agents IS 'Who starts and stops workers: one a machine, or one a worker group of the Dask operator';
COMMENT ON COLUMN agents.prefix IS 'What the names of its workers begin with at the Dask scheduler';

CREATE TABLE scale_decisions (
    decision_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    pool        text NOT NULL,
    epoch       bigint NOT NULL,
    before      integer NOT NULL,
    wanted      integer NOT NULL,
    rule        text NOT NULL,
    reason      text NOT NULL,
    inputs      jsonb NOT NULL
);
CREATE INDEX scale_decisions_of ON scale_decisions (pool, decision_id DESC);
CREATE INDEX scale_decisions_at ON scale_decisions (at);
COMMENT ON TABLE scale_decisions IS 'What was decided, by which rule, on which signals: each that changed something, and one a minute';

-- FOR SHARE: a new leader can't take over between this look and the commit of what is written.
CREATE FUNCTION fenced_by_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    current bigint;
BEGIN
    SELECT epoch INTO STRICT current FROM controller FOR SHARE;
    IF NEW.epoch < current THEN
        RAISE EXCEPTION 'controller of epoch % was taken over: epoch % leads', NEW.epoch, current USING ERRCODE = 'TR003';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fenced_by_epoch BEFORE INSERT OR UPDATE ON pools FOR EACH ROW EXECUTE FUNCTION fenced_by_epoch();
CREATE TRIGGER fenced_by_epoch BEFORE INSERT OR UPDATE ON scale_decisions FOR EACH ROW EXECUTE FUNCTION fenced_by_epoch();

ALTER TABLE throughput ADD COLUMN failed integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN throughput.failed IS 'Blocks whose attempt failed in this minute';

CREATE TABLE latencies (
    minute  timestamptz NOT NULL,
    tier    text NOT NULL,
    bucket  smallint NOT NULL,
    blocks  bigint NOT NULL,
    seconds double precision NOT NULL,
    PRIMARY KEY (minute, tier, bucket)
);
COMMENT ON TABLE latencies IS 'How long blocks took, a minute and tier; bucket n: up to 2^(n/4) milliseconds';
