-- Archives and purges look for the results of a job.
CREATE INDEX results_of_job ON results (job_id);
