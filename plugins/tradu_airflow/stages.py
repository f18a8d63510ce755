"""How a stage of the line becomes an Airflow task: small results to XCom, an end for the jobs of failed runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context

from tradu_airflow.links import XCOM_KEY, data_docs_url

if TYPE_CHECKING:
    from tradu.line import GateResult


def take_up(job_id: str) -> None:
    """A stage begins: takes the job up again where this run had failed and somebody has cleared the task."""
    from tradu import line

    line.take_up(job_id, get_current_context()["run_id"])


def pass_gate(name: str, job_id: str) -> dict[str, Any]:
    """Run a gate of the line; its verdict as counts, and its Data Docs for the link on the task, stopped or not."""
    from tradu import line
    from tradu.errors import GateStopError

    take_up(job_id)
    try:
        result: GateResult = getattr(line, f"gate_{name}")(job_id)
    except GateStopError as error:
        _push_link(error.data_docs)
        raise
    _push_link(result.data_docs)
    return asdict(result)


def _push_link(docs_key: str | None) -> None:
    if docs_key is not None:
        get_current_context()["ti"].xcom_push(XCOM_KEY, data_docs_url(docs_key))


def end_failed_job(context: dict[str, Any]) -> None:
    """Callback of a failed DAG run: its job ends in ERROR, where no stage has said why already."""
    run_id = context["run_id"] if "run_id" in context else context["dag_run"].run_id
    end_job_of(run_id, f"failed: {context.get('reason') or 'its tasks in the Airflow UI say why'}")


def end_job_of(run_id: str, why: str) -> None:
    """End the job that a DAG run works on, or waits with for its turn, in ERROR; nothing where it has ended."""
    from tradu import line
    from tradu.ledger.connection import get_ledger

    ledger = get_ledger("callback")
    with ledger.transaction() as tx:
        jobs = tx.tuples("job_of_run", run_id=run_id)
    for (job_id,) in jobs:
        line.fail(job_id, f"DAG run {run_id} {why}", ledger)


def end_lost_jobs() -> dict[str, int]:
    """End jobs whose run is over or gone, as Airflow says, and on which nobody works; tells people, and how many."""
    from tradu.ledger.connection import get_ledger
    from tradu.watchdog import pipeline

    def living(run_ids: Sequence[str]) -> int:
        task = get_current_context()["ti"]
        return task.get_dr_count("tradu_translate", run_ids=list(run_ids), states=["queued", "running"])

    ended = pipeline.end_lost(get_ledger("watchdog"), living)
    if ended:
        commands = "; ".join(f"tradu resume {job}" for job in ended)
        alert({"exception": f"jobs had lost their runs and ended in ERROR: {commands}"})
    return {"jobs_lost": len(ended)}


def measure(found: dict[str, int]) -> dict[str, int]:
    """Hand the watchdog's counts to Airflow's metrics (StatsD or OpenTelemetry), as `tradu.watchdog.<what>`."""
    from airflow.sdk.observability import stats

    for what, count in found.items():
        stats.gauge(f"tradu.watchdog.{what}", count)
    return found


def alert(context: dict[str, Any]) -> None:
    """Callback of a task that found something for people: posts what it said to TRADU_ALERT_URL, where that is set."""
    import logging

    import httpx

    from tradu.settings import get_settings

    log = logging.getLogger(__name__)
    url, said = get_settings().alert_url, str(context.get("exception") or "the watchdog failed: its log says why")
    log.error("alert: %s", said)
    if url is None:
        return
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs addresses, and this one may hold a secret
    try:
        reply = httpx.post(url.get_secret_value(), json={"text": f"Tradu: {said}"}, timeout=10)
    except httpx.HTTPError as error:
        log.warning("the alert could not be posted: %s", type(error).__name__)
    else:
        if not reply.is_success:
            log.warning("the alert was answered with HTTP %d", reply.status_code)
