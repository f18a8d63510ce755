"""Listens to Airflow for runs that a person ends: no callback of the DAG is called for those."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.listeners import hookimpl

from tradu_airflow.stages import end_job_of

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

BY_HAND = "manually"
"""In what the API says of such a run. The scheduler, which may not wait for the ledger, says something else of one that
ends by itself: the job of that is ended by the callback of the DAG."""


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """A run was marked failed: its job ends, and its place in the line is free."""
    _ended(dag_run, msg, "failed")


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """A run was marked as a success, whatever became of its job: one that isn't done ends."""
    _ended(dag_run, msg, "a success")


def _ended(dag_run: DagRun, msg: str, state: str) -> None:
    if dag_run.dag_id == "tradu_translate" and BY_HAND in msg:
        end_job_of(dag_run.run_id, f"was marked {state} by hand: `tradu resume` goes on with the job")
