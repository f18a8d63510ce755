-- Where the bytes of a job lie, the catalogue of archives, and certificates of what was removed for ever.

ALTER TABLE jobs ADD COLUMN residence text NOT NULL DEFAULT 'hot' CHECK (residence IN ('hot', 'warm', 'cold', 'purged')),
    ADD COLUMN archived_at timestamptz, ADD COLUMN legal_hold boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN jobs.residence IS 'hot: the line works with it; warm and cold: in its archive; purged: gone';
COMMENT ON COLUMN jobs.legal_hold IS 'It may be neither archived nor removed';

CREATE TABLE archives (
    job_id          uuid PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    format          integer NOT NULL,
    objects         bigint NOT NULL,
    blocks          bigint NOT NULL,
    hot_bytes       bigint NOT NULL,
    cold_bytes      bigint NOT NULL,
    manifest_sha256 text NOT NULL,
    manifest_bytes  bigint NOT NULL,
    made_at         timestamptz NOT NULL DEFAULT now(),
    cleared_at      timestamptz,
    restored_at     timestamptz,
    scrubbed_at     timestamptz
);
COMMENT ON TABLE archives IS 'Archives that were read back and found whole; cleared_at: nothing of the job lies in hot any more';

CREATE TABLE archived_documents (
    job_id      uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    document_id text NOT NULL,
    state       text NOT NULL,
    PRIMARY KEY (job_id, document_id)
);
CREATE INDEX archived_documents_by_content ON archived_documents (document_id);
COMMENT ON TABLE archived_documents IS 'Documents of archived jobs: what is settled stays settled, and is found again';

CREATE TABLE erasures (
    erasure_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text NOT NULL CHECK (kind IN ('retention', 'job', 'document', 'tenant')),
    subject_sha256 text NOT NULL,
    counts         jsonb NOT NULL,
    by             text NOT NULL,
    at             timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX erasures_of ON erasures (subject_sha256);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON erasures FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER not_truncated BEFORE TRUNCATE ON erasures FOR EACH STATEMENT EXECUTE FUNCTION append_only();
COMMENT ON TABLE erasures IS 'Certificates of what was removed for ever: how much, when and by whom, and no content or name';
