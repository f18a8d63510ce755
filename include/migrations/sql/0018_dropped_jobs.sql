-- Jobs that a person has dropped: no night takes their documents up again, archived or not.

ALTER TABLE jobs ADD COLUMN dropped_at timestamptz;
COMMENT ON COLUMN jobs.dropped_at IS 'When a person dropped it after a gate had stopped it; null: nobody has, or it was taken up again since';

-- Those that were dropped so far, and not taken up again since.
UPDATE jobs SET dropped_at = d.at
FROM (SELECT job_id, max(at) AS at FROM decisions WHERE decision = 'drop' GROUP BY job_id) AS d
WHERE jobs.job_id = d.job_id AND jobs.state = 'ERROR' AND jobs.stopped_by IS NULL AND d.at >= jobs.finished_at;
