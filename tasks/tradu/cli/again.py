"""Taking a job up again: by the run that works on it, or by a new one."""

from __future__ import annotations

from tradu.cli.airflow import AirflowClient
from tradu.cli.watch import DAG
from tradu.errors import RequestError, SystemicError
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


def new_run(client: AirflowClient, job: Job) -> str:
    """Start a run that goes on with a job; its id.

    Raises:
        SystemicError: it could not be started: what was decided stands.
    """
    try:
        return client.trigger(DAG, conf_of(job))
    except SystemicError as error:
        raise SystemicError(
            f"{error}. What you decided is written down: `tradu resume {job.job_id}` goes on"
        ) from error
