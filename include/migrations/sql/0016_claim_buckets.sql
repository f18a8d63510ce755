-- Limits of claims: how many characters may be claimed now for a tenant, or by a pool of workers.

CREATE TABLE claim_buckets (
    name        text PRIMARY KEY,
    per_second  double precision NOT NULL CHECK (per_second > 0),
    characters  double precision NOT NULL,
    refilled_at timestamptz NOT NULL,
    claimed     bigint NOT NULL DEFAULT 0,
    refused     bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE claim_buckets IS 'A bucket for each limit that include/admission.yaml sets: tenant:NAME, pool:NAME';
COMMENT ON COLUMN claim_buckets.characters IS 'That may be claimed; below 0: so many were claimed too many, and it fills up first';
COMMENT ON COLUMN claim_buckets.refused IS 'Claims that found nothing in it';
