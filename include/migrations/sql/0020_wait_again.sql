-- A job that ended in ERROR before its turn had come waits for it again when it is resumed.

INSERT INTO transitions VALUES ('job', 'ERROR', 'DEFERRED') ON CONFLICT DO NOTHING;
