-- Tiers on pools of their own: blocks that wait for one lie in a batch of that tier.

ALTER TABLE batches ADD COLUMN tier text NOT NULL DEFAULT '';
COMMENT ON COLUMN batches.tier IS 'The tier that its blocks wait for; empty: the first';
