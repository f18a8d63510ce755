"""Whatever order workers come in, no block is held by two, none is lost, and no stale token changes anything."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from psycopg.sql import SQL

from fixtures import ledger as work
from fixtures.ledger import MAX_ATTEMPTS
from fixtures.postgres import TestServer
from tradu.ledger import states
from tradu.ledger.cancel import cancel
from tradu.ledger.connection import Ledger, Transaction
from tradu.ledger.jobs import find
from tradu.ledger.rows import Claim
from tradu.ledger.sql import QUERIES
from tradu.ledger.states import BlockState as B

BATCHES, IN_BATCH = 2, 3
ACTORS = ("a", "b", "c")
WORKERS = 8
LONG_SECONDS = 3600.0
LEAST_STEPS = 30
LEGAL = {(before, after) for entity, before, after in states.rows() if entity == "block"}
OPEN = (B.PENDING, B.CLAIMED, B.PROCESSING, B.VALIDATING)
_EXPIRE = """
UPDATE blocks SET lease_until = now() - interval '1 second'
FROM (SELECT job_id, block_id FROM blocks WHERE job_id = %s AND block_id = ANY(%s) AND state = 'CLAIMED'
      ORDER BY block_id FOR UPDATE) AS held
WHERE blocks.job_id = held.job_id AND blocks.block_id = held.block_id
RETURNING blocks.token
"""
_AS_KNOWN = """
SELECT block_id, batch, state, attempt, token, lease_until > now(), coalesce(not_before > now(), false), result
FROM blocks WHERE job_id = %s
"""
_LETTERS = "SELECT count(*) FROM dead_letters WHERE job_id = %s"
_TO_JUDGE = "SELECT block_id FROM blocks WHERE job_id = %s AND state = 'VALIDATING' ORDER BY random() LIMIT 2"
_ENDS = "SELECT block_id, state, token, result FROM blocks WHERE job_id = %s"
_STEPS = """
SELECT entity_id::uuid, from_state, to_state, actor, attempt FROM history
WHERE job_id = %s AND entity = 'block' ORDER BY entity_id, at, ctid
"""


@pytest.fixture(scope="module")
def ledgers(postgres_server: TestServer, empty_ledger: str) -> Iterator[Callable[[str], Ledger]]:
    """A ledger of its own, so a connection of its own, for each actor of one database."""
    dsn, known = postgres_server.create(empty_ledger), dict[str, Ledger]()
    yield lambda actor: known.setdefault(actor, Ledger(dsn, actor))
    for ledger in known.values():
        ledger.close()
    postgres_server.drop(dsn)


# One step at a time, against a model ---------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """A block as the model has it. Its lease is alive, or has run out, or there is none."""

    batch: int
    state: B = B.PENDING
    attempt: int = 0
    token: int | None = None
    alive: bool | None = None
    resting: bool = False
    result: str | None = None

    def free(self, again: bool) -> bool:
        """Whether a claim takes it."""
        in_turn = 1 <= self.attempt < MAX_ATTEMPTS if again else self.attempt == 0
        return in_turn and ((self.state is B.PENDING and not self.resting) or self.is_lost)

    @property
    def is_lost(self) -> bool:
        """Whether its worker has let the lease run out."""
        return self.state is B.CLAIMED and self.alive is False

    @property
    def is_spent(self) -> bool:
        """Whether its budget is spent."""
        return self.attempt >= MAX_ATTEMPTS and (self.state is B.PENDING or self.is_lost)


BATCH = st.integers(0, BATCHES - 1)
TURNS = {
    "claim": 5, "finish": 4, "fail": 3, "release": 2, "unreadable": 1, "heartbeat": 2, "expire": 2,
    "others_take_over": 3, "rested": 1, "close_exhausted": 2, "accept": 1, "refuse": 1, "retry": 2,
    "stop": 1, "start_again": 3, "cancel": 1,
}  # fmt: skip
"""What a turn may be, and how often. One rule draws them: the library's own choice leaves rules out of whole runs."""


class Interleavings(RuleBasedStateMachine):
    """Workers and their watchers take turns; after each turn the ledger is what the model says."""

    def __init__(self, ledgers: Callable[[str], Ledger]) -> None:
        super().__init__()
        self.ledgers = ledgers
        self.claims: list[tuple[int, list[Claim]]] = []
        self.letters = self.steps = 0
        self.running, self.cancelled = True, False

    @initialize()
    def admit(self) -> None:
        key = f"job-{time.monotonic_ns()}"
        self.job = work.make_job(self.ledgers("a"), range(BATCHES), IN_BATCH, key)
        with self.ledgers("a").transaction() as tx:
            rows = tx.connection.execute("SELECT batch, block_id FROM blocks WHERE job_id = %s", (self.job,)).fetchall()
        # ids differ from run to run; by their place in this order a run can be done again
        self.blocks = {block_id: Known(batch) for batch, block_id in sorted(rows)}

    @rule(what=st.sampled_from([name for name, often in TURNS.items() for _ in range(often)]), data=st.data())
    def turn(self, what: str, data: st.DataObject) -> None:
        needs_claims = what in ("finish", "fail", "release", "unreadable", "heartbeat")
        getattr(self, "claim" if needs_claims and not self.claims else what)(data)

    def as_actor(self, data: st.DataObject, act: Callable[[Transaction], list[UUID]]) -> list[UUID]:
        self.steps += 1
        with self.ledgers(data.draw(st.sampled_from(ACTORS), label="actor")).transaction(work.REQUEST) as tx:
            return self.in_order(act(tx))

    def in_order(self, blocks: Iterable[UUID]) -> list[UUID]:
        return sorted(blocks, key=list(self.blocks).index)

    def move(self, blocks: Sequence[UUID], **changes: object) -> None:
        for block_id in blocks:
            self.blocks[block_id] = replace(self.blocks[block_id], **changes)  # type: ignore[arg-type]

    def some_claims(self, data: st.DataObject) -> tuple[int, list[Claim], list[UUID]]:
        """What one claim got, or a part of it, however long ago; and the blocks that are still held by it."""
        batch, got = data.draw(st.sampled_from(self.claims), label="claims")
        claims = got[data.draw(st.integers(0, len(got) - 1), label="from") :]
        held = (c.block_id for c in claims if self.blocks[c.block_id].token == c.token)
        return batch, claims, self.in_order(b for b in held if self.blocks[b].state is B.CLAIMED)

    def claim(self, data: st.DataObject) -> None:
        self.take(data, data.draw(BATCH, label="batch"), again=data.draw(st.booleans(), label="again"))

    def take(self, data: st.DataObject, batch: int, again: bool) -> None:
        got: list[Claim] = []

        def act(tx: Transaction) -> list[UUID]:
            claims = work.claim(tx, self.job, batch, again=again, seconds=LONG_SECONDS)
            got.extend(sorted(claims, key=lambda claim: claim.block_id))
            return [c.block_id for c in got]

        free = [k for k, b in self.blocks.items() if b.batch == batch and b.free(again) and self.running]
        assert self.as_actor(data, act) == free[: 1 if again else None]
        newest = max((claim.token for _, claims in self.claims for claim in claims), default=0)
        for claim in got:
            before = self.blocks[claim.block_id]
            assert claim.attempt == before.attempt + 1 <= MAX_ATTEMPTS
            assert claim.token > newest, "a token is never given twice"
            self.move([claim.block_id], state=B.CLAIMED, attempt=claim.attempt, token=claim.token, alive=True)
        assert len({claim.token for claim in got}) == len(got)
        self.claims += [(batch, got)] if got else []

    def finish(self, data: st.DataObject) -> None:
        _, claims, held = self.some_claims(data)
        result = f"results/{self.steps}"
        assert self.as_actor(data, lambda tx: work.finish(tx, self.job, claims, result)) == held
        self.move(held, state=B.VALIDATING, alive=None, result=result)

    def fail(self, data: st.DataObject) -> None:
        rest = data.draw(st.booleans(), label="rest")
        _, claims, held = self.some_claims(data)
        wait = LONG_SECONDS if rest else 0.0
        assert self.as_actor(data, lambda tx: work.hand_back(tx, self.job, claims, wait)) == held
        self.move(held, state=B.PENDING, alive=None, resting=rest)

    def release(self, data: st.DataObject) -> None:
        _, claims, held = self.some_claims(data)
        assert self.as_actor(data, lambda tx: work.release(tx, self.job, claims)) == held
        for block_id in held:
            self.move([block_id], state=B.PENDING, alive=None, attempt=self.blocks[block_id].attempt - 1)

    def unreadable(self, data: st.DataObject) -> None:
        _, claims, held = self.some_claims(data)
        assert self.as_actor(data, lambda tx: work.unreadable(tx, self.job, claims)) == held
        self.move(held, state=B.ERROR, alive=None)
        self.letters += len(held)

    def heartbeat(self, data: st.DataObject) -> None:
        batch, claims, held = self.some_claims(data)
        extended: list[int] = []

        def act(tx: Transaction) -> list[UUID]:
            extended.append(work.extend(tx, self.job, batch, claims, LONG_SECONDS))
            return []

        self.as_actor(data, act)
        assert extended == [len(held)]
        self.move(held, alive=True)

    def expire(self, data: st.DataObject) -> None:
        self.let_run_out(
            data.draw(st.lists(st.sampled_from(list(self.blocks)), min_size=1, unique=True), label="blocks")
        )

    def let_run_out(self, blocks: list[UUID]) -> None:
        with self.ledgers("a").transaction() as tx:
            tx.connection.execute(_EXPIRE, (self.job, blocks))
        self.move([b for b in blocks if self.blocks[b].state is B.CLAIMED], alive=False)

    def others_take_over(self, data: st.DataObject) -> None:
        batch = data.draw(BATCH, label="batch")
        for _ in range(data.draw(st.integers(1, MAX_ATTEMPTS), label="attempts")):
            self.let_run_out([block_id for block_id, known in self.blocks.items() if known.batch == batch])
            self.take(data, batch, again=False)
            for _ in range(IN_BATCH):
                self.take(data, batch, again=True)

    def rested(self, data: st.DataObject) -> None:
        with self.ledgers("a").transaction() as tx:
            tx.connection.execute("UPDATE blocks SET not_before = NULL WHERE job_id = %s", (self.job,))
        self.move(list(self.blocks), resting=False)

    def close_exhausted(self, data: st.DataObject) -> None:
        batch = data.draw(BATCH, label="batch")
        spent = [k for k, b in self.blocks.items() if b.batch == batch and b.is_spent]
        assert self.as_actor(data, lambda tx: work.close_exhausted(tx, self.job, batch)) == spent
        self.move(spent, state=B.ERROR, alive=None)
        self.letters += len(spent)

    def accept(self, data: st.DataObject) -> None:
        passed = self.in_state(B.VALIDATING)
        assert self.as_actor(data, lambda tx: work.accept(tx, self.job)) == passed
        self.move(passed, state=B.COMPLETED)

    def refuse(self, data: st.DataObject) -> None:
        refused = self.in_state(B.VALIDATING)[:1]
        assert self.as_actor(data, lambda tx: work.quarantine(tx, self.job, refused)) == refused
        self.move(refused, state=B.ERROR)
        self.letters += len(refused)

    def retry(self, data: st.DataObject) -> None:
        refused = self.in_state(B.ERROR) if self.running else []
        assert self.as_actor(data, lambda tx: work.retry(tx, self.job)) == refused
        self.move(refused, state=B.PENDING, attempt=0)

    def stop(self, data: st.DataObject) -> None:
        with self.ledgers("b").transaction() as tx:
            stopped = tx.run("end_job", job_id=self.job, state="ERROR", reason="a gate")
        assert stopped == self.running
        self.running = False

    def start_again(self, data: st.DataObject) -> None:
        if self.running:
            return
        with self.ledgers("b").transaction() as tx:
            started = tx.run("start_job", job_id=self.job, run_id="again", request_id=work.REQUEST)
        assert started == (not self.cancelled)
        self.running = not self.cancelled

    def cancel(self, data: st.DataObject) -> None:
        if self.steps < LEAST_STEPS:  # after it there is little to see
            return
        ledger = self.ledgers("b")
        stopped = self.in_state(*OPEN) if self.running else []
        assert cancel(ledger, find(self.job, ledger)) == len(stopped)
        self.move(stopped, state=B.CANCELED, alive=None)
        self.cancelled = self.cancelled or self.running
        self.running = False

    def in_state(self, *wanted: B) -> list[UUID]:
        return [block_id for block_id, known in self.blocks.items() if known.state in wanted]

    @invariant()
    def the_ledger_is_as_the_model_says(self) -> None:
        with self.ledgers("b").transaction() as tx:
            rows = tx.connection.execute(_AS_KNOWN, (self.job,)).fetchall()
            letters = tx.connection.execute(_LETTERS, (self.job,)).fetchone()
        assert {block_id: Known(*rest) for block_id, *rest in rows} == self.blocks
        assert letters == (self.letters,)

    def teardown(self) -> None:
        for steps in history_of(self.ledgers("a"), self.job).values():
            assert_unbroken(steps)


SETTINGS = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_the_ledger_does_what_a_model_of_it_does(ledgers: Callable[[str], Ledger]) -> None:
    run_state_machine_as_test(lambda: Interleavings(ledgers), settings=SETTINGS)


@pytest.mark.parametrize(
    ("query", "part", "instead"),
    [
        ("finish", "k.token = r.held AND", ""),
        ("hand_back", "k.token = r.held AND", ""),
        ("release", "k.token = r.held AND", ""),
        ("quarantine_held", "k.token = r.held AND", ""),
        ("extend", "AND token = ANY(%(tokens)s)", "AND %(tokens)s::bigint[] IS NOT NULL"),
        ("claim", "AND lease_until < now()", ""),
        ("claim", "AND coalesce(not_before <= now(), true)", ""),
        ("claim", "token = new_token()", "token = coalesce(blocks.token, new_token())"),
        ("claim", "AND EXISTS (SELECT FROM jobs WHERE job_id = %(job_id)s AND state = 'RUNNING')", ""),
        ("close_exhausted", "AND lease_until < now()", ""),
        ("retry_blocks", "attempt = 0, ", ""),
    ],
)
def test_the_model_notices_a_ledger_that_does_less(
    ledgers: Callable[[str], Ledger], monkeypatch: pytest.MonkeyPatch, query: str, part: str, instead: str
) -> None:
    statement = QUERIES[query].as_string()
    assert part in statement
    monkeypatch.setitem(QUERIES, query, SQL(statement.replace(part, instead)))  # type: ignore[arg-type]
    unshrunk = settings(SETTINGS, max_examples=300, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises((AssertionError, psycopg.Error)):
        run_state_machine_as_test(lambda: Interleavings(ledgers), settings=unshrunk)


# All at once ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A row of the history of a block."""

    before: str
    after: str
    actor: str
    attempt: int


@dataclass
class Log:
    """What the ledger told one worker: what it claimed, and how it ended what it held."""

    actor: str
    claims: list[Claim] = field(default_factory=list)
    ends: list[tuple[UUID, int, str]] = field(default_factory=list)
    """(block, token, what came of it)."""
    results: dict[tuple[UUID, int], str] = field(default_factory=dict)
    expired: set[int] = field(default_factory=set)
    """Tokens whose lease it let run out."""
    errors: list[BaseException] = field(default_factory=list)


class Worker:
    """Does one random thing after another, with tokens that may be stale."""

    def __init__(self, ledger: Ledger, job: UUID, batches: int, seed: int) -> None:
        self.ledger, self.job, self.batches = ledger, job, batches
        self.chance = random.Random(seed)
        self.log = Log(ledger.actor)
        self.held: list[tuple[int, Claim]] = []

    def run(self, steps: int) -> None:
        acts = (self.claim, self.finish, self.fail, self.release, self.expire, self.accept, self.refuse)
        try:
            for _ in range(steps):
                self.chance.choices(acts, (30, 20, 8, 8, 12, 4, 2))[0]()
        except BaseException as error:
            self.log.errors.append(error)

    def drain(self) -> None:
        """Claim and finish whatever is free."""
        for batch in range(self.batches):
            while self.take(batch):
                self.held, held = [], self.held
                self.end(B.VALIDATING, [claim for _, claim in held])

    def take(self, batch: int) -> list[Claim]:
        """Claim as a worker does."""
        with self.ledger.transaction(work.REQUEST) as tx:
            work.close_exhausted(tx, self.job, batch)
            for again in (False, True):
                if got := work.claim(tx, self.job, batch, again=again):
                    break
            self.dawdle()
        self.log.claims += got
        self.held += [(batch, claim) for claim in got]
        return got

    def claim(self) -> None:
        self.take(self.chance.randrange(self.batches))

    def end(self, state: B, claims: Sequence[Claim], *, spend: bool = True) -> None:
        """End attempts; those of stale tokens are not ours to end."""
        result = f"results/{self.log.actor}/{len(self.log.ends)}-{self.chance.random()}"
        with self.ledger.transaction(work.REQUEST) as tx:
            if state is B.VALIDATING:
                blocks = work.finish(tx, self.job, claims, result)
            else:
                blocks = (work.hand_back if spend else work.release)(tx, self.job, claims)
            self.dawdle()
        token = {c.block_id: c.token for c in claims}
        self.log.ends += [(block, token[block], state) for block in blocks]
        if state is B.VALIDATING:
            self.log.results |= {(block, token[block]): result for block in blocks}

    def some(self) -> list[Claim]:
        """Some of what this worker holds or has ever held, in no order, each block once."""
        chosen = self.chance.sample(self.held, self.chance.randint(0, len(self.held)))
        return list({c.block_id: c for _, c in sorted(chosen, key=lambda h: h[1].token)}.values())

    def finish(self) -> None:
        self.end(B.VALIDATING, self.some())

    def fail(self) -> None:
        self.end(B.PENDING, self.some())

    def release(self) -> None:
        self.end(B.PENDING, self.some(), spend=False)

    def beat(self, ledger: Ledger, done: threading.Event) -> None:
        """Extend all the while what this worker holds, as its heartbeat does from another process."""
        try:
            while not done.wait(0.002):
                held = list(self.held)
                with ledger.transaction() as tx:
                    for batch in range(self.batches):
                        work.extend(tx, self.job, batch, [c for number, c in held if number == batch])
        except BaseException as error:
            self.log.errors.append(error)

    def expire(self) -> None:
        self.let_run_out([c.block_id for c in self.some()])

    def let_run_out(self, blocks: Sequence[UUID]) -> None:
        with self.ledger.transaction() as tx:
            expired = tx.connection.execute(_EXPIRE, (self.job, list(blocks))).fetchall()
        self.log.expired |= {token for (token,) in expired}

    def accept(self) -> None:
        with self.ledger.transaction() as tx:
            work.accept(tx, self.job)

    def refuse(self) -> None:
        with self.ledger.transaction() as tx:
            judged = tx.connection.execute(_TO_JUDGE, (self.job,)).fetchall()
            work.quarantine(tx, self.job, [block for (block,) in judged])
        with self.ledger.transaction() as tx:
            work.retry(tx, self.job)

    def dawdle(self) -> None:
        """Keep the transaction open for a moment, so that others meet its locks."""
        if self.chance.random() < 0.3:
            time.sleep(self.chance.random() * 0.003)


def at_once(
    workers: Sequence[Worker],
    ledgers: Callable[[str], Ledger],
    steps: int,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """All workers and their heartbeats, each in a thread of its own; nothing went wrong in any."""
    done = threading.Event()
    threads = [threading.Thread(target=worker.run, args=(steps,)) for worker in workers]
    hearts = [threading.Thread(target=w.beat, args=(ledgers(f"{w.log.actor}-heart"), done)) for w in workers]
    for thread in threads + hearts:
        thread.start()
    meanwhile()
    for thread in threads:
        thread.join()
    done.set()
    for heart in hearts:
        heart.join()
    assert [error for worker in workers for error in worker.log.errors] == []


def history_of(ledger: Ledger, job: UUID) -> dict[UUID, list[Step]]:
    steps: dict[UUID, list[Step]] = {}
    with ledger.transaction() as tx:
        for block_id, *step in tx.connection.execute(_STEPS, (job,)):
            steps.setdefault(block_id, []).append(Step(*step))
    return steps


def assert_unbroken(steps: Sequence[Step]) -> None:
    """Each step is legal and begins where the one before ended; no attempt is beyond the budget."""
    assert steps[0].before == states.NEW
    assert all(one.after == next_one.before for one, next_one in pairwise(steps)), steps
    assert {(s.before, s.after) for s in steps} <= LEGAL
    assert max(s.attempt for s in steps) <= MAX_ATTEMPTS


def assert_held_by_one(
    steps: Sequence[Step], claims: Sequence[tuple[int, str]], ends: dict[int, str], expired: set[int]
) -> None:
    """A block's history is that of its claims one after the other, each ended by its holder, or after its lease.

    `claims` are (token, actor) as workers got them, in order; `ends` is what workers were told of each token; `expired`
    are the tokens whose lease ran out.
    """
    tokens, holder, told = iter(claims), None, dict(ends)
    for step, next_step in pairwise([*steps, Step("", "", "", 0)]):
        if step.after == B.CLAIMED:
            token, holder = next(tokens)
            assert step.actor == holder, "the claims are as they were given"
        elif step.after in (B.PROCESSING, B.VALIDATING):
            assert step.actor == holder
            if step.after == B.VALIDATING:
                assert told.pop(token) == B.VALIDATING
                holder = None
        elif step.after == B.PENDING and step.before == B.CLAIMED:
            retaken = next_step.after == B.CLAIMED and next_step.actor == step.actor and token not in told
            if retaken:
                assert token in expired, "taken from one who held it"
            else:
                assert (step.actor, told.pop(token)) == (holder, B.PENDING)
            holder = None
        elif step.after in (B.ERROR, B.CANCELED):
            holder = None
    assert told == {}, "nothing was accepted that the history does not have"
    assert next(tokens, None) is None, "every claim is in the history"


def assert_consistent(workers: Sequence[Worker], ledger: Ledger, job: UUID) -> None:
    """What the workers were told, the history and the blocks agree."""
    given = [(c.block_id, c.token, w.log.actor) for w in workers for c in w.log.claims]
    assert len({token for _, token, _ in given}) == len(given), "no token is given twice"
    expired = set[int]().union(*(w.log.expired for w in workers))
    ended = [end for w in workers for end in w.log.ends]
    assert max(Counter(token for _, token, _ in ended).values(), default=0) <= 1, "no token ends twice"
    results = {key: result for w in workers for key, result in w.log.results.items()}
    with ledger.transaction() as tx:
        rows = tx.connection.execute(_ENDS, (job,)).fetchall()
    histories = history_of(ledger, job)
    assert set(histories) == {block_id for block_id, *_ in rows}
    for block_id, state, token, result in rows:
        steps = histories[block_id]
        assert_unbroken(steps)
        claims = sorted((t, actor) for b, t, actor in given if b == block_id)
        assert_held_by_one(steps, claims, {t: what for b, t, what in ended if b == block_id}, expired)
        assert steps[-1].after == state
        if state == B.COMPLETED:
            assert result == results[block_id, token], "the result is that of the one who held it last"
            assert sum(step.after == B.COMPLETED for step in steps) == 1


def make_workers(ledgers: Callable[[str], Ledger], seed: int, in_batch: int) -> tuple[UUID, list[Worker]]:
    job = work.make_job(ledgers("a"), range(BATCHES), in_batch, f"at-once-{seed}-{time.monotonic_ns()}")
    return job, [Worker(ledgers(f"w{n}"), job, BATCHES, seed * 100 + n) for n in range(WORKERS)]


@pytest.mark.parametrize("seed", range(4))
def test_many_workers_at_once_bring_every_block_to_its_end_once(ledgers: Callable[[str], Ledger], seed: int) -> None:
    job, workers = make_workers(ledgers, seed, in_batch=12)
    at_once(workers, ledgers, steps=60)
    last, ledger = workers[0], ledgers("a")
    last.let_run_out(list(history_of(ledger, job)))  # the workers are gone
    with ledger.transaction() as tx:
        work.retry(tx, job)
    last.drain()
    last.accept()
    with ledger.transaction() as tx:
        left = tx.connection.execute("SELECT DISTINCT state FROM blocks WHERE job_id = %s", (job,)).fetchall()
    assert {state for (state,) in left} <= {B.COMPLETED, B.ERROR}, "none is lost"
    assert_consistent(workers, ledger, job)


@pytest.mark.parametrize("seed", range(2))
def test_cancelling_among_many_workers_stops_every_open_block(ledgers: Callable[[str], Ledger], seed: int) -> None:
    job, workers = make_workers(ledgers, seed, in_batch=40)
    ledger = ledgers("a")

    def stop() -> None:
        time.sleep(0.3)
        cancel(ledger, find(job, ledger))

    at_once(workers, ledgers, steps=60, meanwhile=stop)
    with ledger.transaction() as tx:
        left = tx.connection.execute("SELECT DISTINCT state FROM blocks WHERE job_id = %s", (job,)).fetchall()
    assert {state for (state,) in left} <= {B.COMPLETED, B.CANCELED, B.ERROR}
    assert_consistent(workers, ledger, job)
