"""A drill: a job under way, the harm done to it, and what must be true when it has finished by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from uuid import UUID

from drills import eyes, harm
from drills.eyes import Database, soon
from drills.record import Measured
from fixtures.stack import Stack, until
from tradu.cli.watch import DAG
from tradu.stack import lifecycle
from tradu.stack.layout import Layout

STAGES = (
    "ingest",
    "gate_documents",
    "partition",
    "gate_blocks",
    "infer",
    "gate_translations",
    "assemble",
    "gate_output",
    "publish",
)
LOWEST_SHARE, HIGHEST_SHARE = 0.2, 0.8
JOB_SECONDS = 600.0
"""A job that is not done after this is lost: undisturbed it takes about a minute."""
HEALTHY_SECONDS = 180.0
STEP_SHARE = 0.1
"""Blocks are done batch by batch: the moment that was drawn may be overshot by this much."""


@dataclass(frozen=True)
class Undisturbed:
    """A job that nothing happened to: what it delivered and how long it took."""

    output: Mapping[str, bytes]
    blocks: int
    seconds: float
    infer_seconds: float


class Drill:
    """One job, from its start to the proof that nothing of it was lost or done twice."""

    def __init__(self, stack: Stack, name: str, documents: Mapping[str, str], seed: int) -> None:
        self.stack, self.name = stack, name
        self.layout = Layout(stack.settings)
        self.ledger, self.airflow = Database(self.layout, "tradu"), Database(self.layout, "airflow")
        self.random = Random(f"{seed} {name}")
        self.documents = documents
        self.measured: Measured | None = None
        self.attempts: dict[str, int] = {}
        """Attempts at tasks that were harmed."""
        self._harms: list[datetime] = []
        self._shares: list[float] = []
        self._begun = datetime.now(UTC)
        self.run_id, self.job = "", UUID(int=0)

    def start(self) -> None:
        """Start the job on a stack that remembers no translation, so that everything is really translated."""
        self.ledger.rows("TRUNCATE results, known_segments")
        key = f"{self.name} {time.time_ns()}"
        folder = self.stack.put(self.documents, f"documents/drill-of-{len(self.documents)}")
        conf = {"documents": [folder.as_uri()], "targets": ["pt"], "source": "en", "idempotency_key": key}
        self._begun = datetime.now(UTC)
        self.run_id = self.stack.api.trigger(DAG, conf)
        look = "SELECT job_id FROM jobs WHERE idempotency_key = %(key)s"
        self.job = soon("the job", lambda: self.ledger.value(look, key=key), 120)

    def share(self) -> float:
        """Share of the blocks that are done."""
        return float(self.ledger.value(eyes.DONE_SHARE, job=self.job))

    def reach_share(self) -> float:
        """Wait for a moment drawn from those at which 20 to 80 % of the blocks are done."""
        wanted = self.random.uniform(LOWEST_SHARE, HIGHEST_SHARE - STEP_SHARE)
        soon(f"{wanted:.0%} of the blocks", lambda: self.share() >= wanted, JOB_SECONDS)
        share = self.share()
        assert LOWEST_SHARE <= share <= HIGHEST_SHARE, f"{share:.0%} are done: the moment was missed"
        return share

    def catch(self, stage: str, aim: Callable[[str], int | None]) -> tuple[int, int] | None:
        """Wait until a stage is being worked on and there is something to aim at: that, and the token of the stage's
        lease. None where the stage was over before.
        """

        later = list(STAGES[STAGES.index(stage) + 1 :])
        found: list[tuple[int, int]] = []

        def look() -> bool:
            if self.ledger.rows(eyes.AFTER_STAGE, job=self.job, later=later):
                return True
            target = aim(stage)
            token = self._token(stage) if target else None
            if target and token:
                found.append((target, token))
            return bool(found)

        soon(f"{stage} to be worked on", look, JOB_SECONDS)
        return found[0] if found else None

    def _token(self, stage: str) -> int | None:
        if stage == "infer":
            return 1 if self.ledger.rows(eyes.CLAIMED, job=self.job) else None
        token: int | None = self.ledger.value(eyes.UNDER_LEASE, job=self.job, stage=stage)
        return token

    def in_the_act(self, stage: str, token: int, moment: datetime) -> bool:
        """Whether the stage was still being worked on at that moment."""
        if stage == "infer":
            return self.share() < 1
        held = self.ledger.rows(eyes.LEASE, job=self.job, stage=stage)
        return bool(held) and held[0][0] == token and held[0][1] > moment

    def task(self, task: str, index: int = -1) -> tuple[str | None, int, int | None]:
        """State, attempt and process of a task instance of the run."""
        found = self.airflow.rows(eyes.TASK, run=self.run_id, task=task, index=index)
        return found[0] if found else (None, 0, None)

    def running_task(self, task: str, index: int = -1) -> tuple[str, int, int] | None:
        """The same of a task instance that runs in a process of its own just now."""
        state, attempt, pid = self.task(task, index)
        return (state, attempt, pid) if state == "running" and pid else None

    @property
    def last_harm(self) -> datetime:
        """When the harm was done."""
        return self._harms[-1]

    def held_by(self, holder: str) -> list[str]:
        """Blocks of the job that a worker holds."""
        return [str(b) for (b,) in self.ledger.rows(eyes.HELD_BY, job=self.job, holder=holder)]

    def harmed(self, moment: datetime | None = None) -> None:
        """The harm has been done, just now or at that moment."""
        self._harms.append(moment or datetime.now(UTC))
        self._shares.append(round(self.share(), 3))

    def finish(self, what: str, reference: Undisturbed) -> Measured:
        """Wait for the end of the job without touching anything, and prove that it is right."""
        assert self._harms, "nothing was done to it"
        self.measured = Measured(self.name, what, reference.seconds, reference.blocks, self._shares)
        self.wait_for_end()
        self._measure(self.measured)
        self._nothing_is_lost(reference)
        self._stack_is_well()
        self.measured.passed = True
        return self.measured

    def wait_for_end(self) -> None:
        """Wait until the job and its DAG run have ended well."""
        state = "SELECT state FROM jobs WHERE job_id = %(job)s AND finished_at IS NOT NULL"
        ended = soon("the job to end", lambda: self.ledger.value(state, job=self.job), JOB_SECONDS)
        why = self.ledger.value("SELECT reason FROM jobs WHERE job_id = %(job)s", job=self.job)
        assert ended == "COMPLETED", f"the job ended {ended}: {why}"
        run = "SELECT state FROM dag_run WHERE run_id = %(run)s AND end_date IS NOT NULL"
        ended = soon("the run to end", lambda: self.airflow.value(run, run=self.run_id), JOB_SECONDS)
        assert ended == "success", f"the run ended {ended}"

    def _measure(self, measured: Measured) -> None:
        finished = self.ledger.value("SELECT finished_at FROM jobs WHERE job_id = %(job)s", job=self.job)
        measured.total = round((finished - self._begun).total_seconds(), 2)
        measured.until_done = round((finished - self._harms[0]).total_seconds(), 2)
        seen = [self._harms[0], *(at for (at,) in self.ledger.rows(eyes.STEPS, job=self.job, since=self._harms[0]))]
        for moment in self._harms:
            following = next((at for at in [*seen, finished] if at > moment), moment)
            measured.until_progress.append(round((following - moment).total_seconds(), 2))
        pauses = [(after - before).total_seconds() for before, after in pairwise(seen)]
        measured.silence = round(max(pauses, default=0.0), 2)
        again = "SELECT count(*) FROM blocks WHERE job_id = %(job)s AND attempt > 1"
        measured.blocks_tried_again = self.ledger.value(again, job=self.job)

    def _nothing_is_lost(self, reference: Undisturbed) -> None:
        blocks = self.ledger.value("SELECT count(*) FROM blocks WHERE job_id = %(job)s", job=self.job)
        assert blocks == reference.blocks
        assert self.ledger.rows(eyes.NOT_ONCE, job=self.job) == [], "blocks were lost, or done twice"
        assert self._way("job", str(self.job)) == ["ADMITTED", "RUNNING", "COMPLETED"]
        for (document,) in self.ledger.rows("SELECT document_id FROM documents WHERE job_id = %(job)s", job=self.job):
            way = ["REGISTERED", "PARTITIONED", "TRANSLATING", "ASSEMBLING", "COMPLETED"]
            assert self._way("document", document) == way
        assert self.ledger.rows("SELECT reason FROM dead_letters WHERE job_id = %(job)s", job=self.job) == []
        assert self.ledger.rows(eyes.ILLEGAL, job=self.job) == [], "a transition was refused"
        assert self.output() == reference.output, "the output is not that of an undisturbed run"

    def _way(self, entity: str, name: str) -> list[str]:
        rows = self.ledger.rows(eyes.WAY_OF, job=self.job, entity=entity, id=name)
        return [state for (state,) in rows]

    def output(self) -> dict[str, bytes]:
        """Every delivered document."""
        store, root = self.stack.line.store, f"output/{self.job}/pt"
        paths = store.fs.find(store.path(root))
        return {path.partition(f"{root}/")[2]: store.fs.cat_file(path) for path in paths}

    def _stack_is_well(self) -> None:
        until("the supervisor to mend the stack", self._is_well, HEALTHY_SECONDS)
        until("nothing to be left of what was killed", lambda: not harm.strays(self.layout), HEALTHY_SECONDS)

    def _is_well(self) -> bool:
        services = lifecycle.status(self.stack.settings)
        return bool(services) and all(s.state == "RUNNING" and s.healthy is not False for s in services)

    def close(self) -> None:
        """Let the databases go."""
        self.ledger.close()
        self.airflow.close()


def undisturbed(stack: Stack, documents: Mapping[str, str], name: str) -> Undisturbed:
    """Run a document set to its end with nothing in its way, twice: the first time warms the stack up."""
    return min((_run(stack, documents, f"{name} {time}") for time in (1, 2)), key=lambda run: run.seconds)


def _run(stack: Stack, documents: Mapping[str, str], name: str) -> Undisturbed:
    drill = Drill(stack, name, documents, seed=0)
    drill.start()
    drill.wait_for_end()
    finished = drill.ledger.value("SELECT finished_at FROM jobs WHERE job_id = %(job)s", job=drill.job)
    claims = """SELECT extract(epoch FROM max(at) FILTER (WHERE to_state = 'VALIDATING')
                                    - min(at) FILTER (WHERE to_state = 'CLAIMED'))
                FROM history WHERE job_id = %(job)s AND entity = 'block'"""
    infer = float(drill.ledger.value(claims, job=drill.job))
    blocks = drill.ledger.value("SELECT count(*) FROM blocks WHERE job_id = %(job)s", job=drill.job)
    seconds = (finished - drill._begun).total_seconds()
    drill.close()
    print(f"\n{name}: {seconds:.1f} s, {infer:.1f} s of them in infer, {blocks} blocks")
    return Undisturbed(drill.output(), blocks, round(seconds, 2), round(infer, 2))


Begin = Callable[[Stack, str, Mapping[str, str]], Drill]
"""Starts the job of a drill on a stack: name of the drill, documents."""
