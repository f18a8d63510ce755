"""Translates the documents of one request.

admit -> ingest -> gate -> partition -> gate -> infer (mapped over shards) -> gate -> assemble -> gate -> publish

A run may be repeated at any time: the job is named by its idempotency key, finished blocks are never done twice, and
every task looks in the ledger for what is still open. Where a gate stops a run, `ask` has a person decide in
`tradu_decide`.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task

from tradu.admission import MOST_RUNS
from tradu.inference.registry import profile_names
from tradu.settings import get_settings
from tradu_airflow.links import DataDocsLink
from tradu_airflow.operators import AdmitOperator, AskOperator, ShardOperator
from tradu_airflow.retries import PATIENT
from tradu_airflow.stages import end_failed_job, pass_gate, take_up

LANGUAGE = "^[a-z]{2,3}([-_][A-Za-z0-9]{2,8})?$"
NAME = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
TEXTS = {"type": ["array", "null"], "items": {"type": "string"}}

PARAMS = {
    "documents": Param(
        [get_settings().landing],
        type="array",
        items={"type": "string", "minLength": 1},
        minItems=1,
        title="Documents",
        description="Files, folders, globs or file:// and s3:// URIs, one a line, inside the landing prefix, the "
        "store's uploads or a prefix of TRADU_SOURCES. A folder comes out as the same tree.",
    ),
    "targets": Param(
        ["pt"],
        type="array",
        items={"type": "string", "pattern": LANGUAGE},
        minItems=1,
        uniqueItems=True,
        examples=["pt", "es", "en", "fr", "ca"],
        title="Into",
        description="Languages to translate into.",
    ),
    "source": Param(
        "auto",
        type="string",
        pattern=f"^auto$|{LANGUAGE}",
        title="From",
        description="Language of the documents, or auto: found out for each document.",
    ),
    "profile": Param(
        "balanced",
        type="string",
        enum=list(profile_names(get_settings())),
        title="Profile",
        description="economy: the cheapest models first. balanced: neural models, used harder where the score is low. "
        "premium: the same for all that is not nearly sure to be good.",
    ),
    "max_cost": Param(
        None,
        type=["null", "number"],
        minimum=0,
        title="Most it may cost",
        description="In the currency of TRADU_CPU_PRICE_PER_HOUR. When it is spent, nothing climbs to a higher tier "
        "any more. A job whose lowest tier alone would cost more is refused. Empty: no limit.",
    ),
    "priority": Param(
        5,
        type="integer",
        minimum=0,
        maximum=10,
        title="Priority",
        description="Where jobs of a tenant have to wait, the one of the highest is let in first.",
    ),
    "tenant": Param("default", type="string", pattern=NAME, title="Tenant", description="Whose job it is."),
    "region": Param("default", type="string", pattern=NAME, title="Region", description="Where it belongs."),
    "idempotency_key": Param(
        None,
        type=["null", "string"],
        maxLength=200,
        title="Idempotency key",
        description="Names the job: a second run under the same key goes on with its work. Empty: a new job.",
    ),
    "options": Param(
        {"columns": None, "fields": None, "encoding": None},
        type="object",
        properties={"columns": TEXTS, "fields": TEXTS, "encoding": {"type": ["string", "null"]}},
        additionalProperties=False,
        title="Options",
        description="columns: of CSV/TSV, by name or number; fields: of JSON Lines, dotted paths; encoding: where "
        "detection is wrong. Null: found out.",
    ),
}


@dag(
    dag_display_name="Tradu: translate",
    schedule=None,
    catchup=False,
    max_active_runs=MOST_RUNS,
    tags=["tradu"],
    params=PARAMS,
    doc_md=__doc__,
    default_args=PATIENT,
    on_failure_callback=end_failed_job,
)
def tradu_translate() -> None:
    """The line."""

    @task
    def ingest(job_id: str) -> int:
        """How many files came in."""
        from tradu import line

        take_up(job_id)
        return line.ingest(job_id)

    @task
    def partition(job_id: str) -> dict[str, int]:
        """Counts of documents, blocks, characters and shards."""
        from dataclasses import asdict

        from tradu import line

        take_up(job_id)
        return asdict(line.partition(job_id))

    @task
    def gate_blocks(job_id: str) -> list[int]:
        """The shards that infer is mapped over."""
        from tradu import line

        pass_gate("blocks", job_id)
        return line.waiting_shards(job_id)

    def gate(name: str, job_id: Any) -> Any:
        @task(task_id=f"gate_{name}", trigger_rule="none_failed")
        def judge(job_id: str) -> dict[str, Any]:
            return pass_gate(name, job_id)

        return judge(job_id)

    @task
    def assemble(job_id: str) -> int:
        """How many documents were rebuilt."""
        from tradu import line

        take_up(job_id)
        return line.assemble(job_id)

    @task
    def publish(job_id: str) -> dict[str, Any]:
        """How the job ended."""
        from dataclasses import asdict

        from tradu import line

        return asdict(line.publish(job_id))

    job = AdmitOperator(task_id="admit").output
    shards = gate_blocks(job)
    infer = ShardOperator.partial(task_id="infer", job_id=job).expand(shard=shards)
    taken_in, documents, partitioned = ingest(job), gate("documents", job), partition(job)
    translations, assembled, output, done = gate("translations", job), assemble(job), gate("output", job), publish(job)
    taken_in >> documents >> partitioned >> shards
    infer >> translations >> assembled >> output >> done
    ask = AskOperator(task_id="ask", job_id=job, trigger_rule="one_failed")
    for judged in (documents, shards, translations, output):
        judged.operator.operator_extra_links = (DataDocsLink(),)
        judged >> ask


tradu_translate()
