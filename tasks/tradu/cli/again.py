"""Taking a job up again: one run works on it, the one that does already or a new one."""

from __future__ import annotations

from tradu.cli.airflow import AirflowClient
from tradu.cli.watch import DAG
from tradu.errors import RequestError
from tradu.ledger.jobs import conf_of
from tradu.ledger.rows import Job


def live_run(client: AirflowClient, job: Job) -> str | None:
    """The run that works on a job now."""
    if job.run_id is None:
        return None
    try:
        return None if client.run(DAG, job.run_id).ended else job.run_id
    except RequestError:  # the run was deleted
        return None


def run_again(client: AirflowClient, job: Job) -> str:
    """Start a run that goes on with a job, unless one is at work; the run's id."""
    return live_run(client, job) or client.trigger(DAG, conf_of(job))
