"""`tradu scale`, `workers`, `controller` and `agent`: how many workers there are, why, and who sees to it."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Annotated

import typer

from tradu.cli import options
from tradu.cli.output import Output
from tradu.cli.output import seconds as duration
from tradu.cli.person import me
from tradu.errors import RequestError, SystemicError, TransientError

if TYPE_CHECKING:
    from tradu.cluster.feed import Standing
    from tradu.ledger.connection import Ledger
    from tradu.ledger.pools import Pool

PoolName = Annotated[
    str | None, typer.Option("--pool", metavar="NAME", help="Which pool. Unset: the only one there is.")
]
ROLL_SECONDS = 1_800.0

scale = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""How many workers each pool has, and why.

\b
Examples:
  tradu scale status
  tradu scale explain
  tradu scale set 3
  tradu scale resume
""",
)
dask_workers = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""The Dask workers.

\b
Examples:
  tradu workers roll
""",
)


@scale.command()
def status(as_json: options.Json = False) -> None:
    """Show every pool: workers wanted and running, the last decision, who leads, and the shards that are worked on.

    Exit code 1 where nobody leads.

    \b
    Examples:
      tradu scale status
      tradu scale status --json
    """
    from tradu.ledger import pools
    from tradu.ledger.pools import Agent, DecisionRow

    output, ledger = Output(as_json), _ledger()
    with ledger.transaction() as tx:
        leader = tx.tuples("leader")
        agents = tx.rows("agents", Agent)
        found = []
        for pool in pools.pools(tx).values():
            own = [agent for agent in agents if agent.pool == pool.pool]
            last = tx.rows("decisions_about", DecisionRow, pool=pool.pool, limit=1)
            found.append((pool, own, last[0] if last else None))
    shards = _fed(output)
    if as_json:
        said = {"holder": leader[0][0], "epoch": leader[0][1]} if leader else None
        of_pool = [{"pool": p, "agents": a, "last_decision": d} for p, a, d in found]
        output.data({"leader": said, "pools": of_pool, "shards": shards})
    else:
        output.table(
            ("pool", ">wanted", ">running", ">machines carry", "rule", "why"),
            [
                (
                    pool.pool,
                    pool.wanted,
                    sum(agent.running for agent in own),
                    sum(agent.capacity for agent in own),
                    "paused" if pool.paused else last.rule if last else None,
                    f"by {pool.set_by}" if pool.paused else last.reason if last else None,
                )
                for pool, own, last in found
            ],
        )
        if shards:
            output.table(
                ("job", ">shard", "pool", ">batches at the cluster", ">of at most", ">waiting", "why not more"),
                [(s.job, s.shard, s.pool, s.at_cluster, s.limit, s.waiting, s.why or None) for s in shards],
            )
        if leader:
            output.say(f"{leader[0][0]} leads, epoch {leader[0][1]}")
        else:
            output.warn("No controller leads: `tradu status` shows whether one runs. The workers stay as they are.")
    raise typer.Exit(0 if leader else 1)


def _fed(output: Output) -> list[Standing]:
    from tradu.cluster import dispatch
    from tradu.settings import get_settings

    try:
        return sorted(dispatch.fed(get_settings()), key=lambda s: (s.job, s.shard, s.pool))
    except SystemicError as error:
        output.warn(str(error))
        return []


@scale.command()
def explain(
    pool: PoolName = None,
    job: Annotated[
        str | None,
        typer.Option("--job", metavar="JOB", help="Only about this job's shards: its id, or a part of it."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many decisions of each kind.")] = 10,
    as_json: options.Json = False,
) -> None:
    """Show the last decisions about a pool with the signals that the newest one rests on, and those about shards.

    \b
    Examples:
      tradu scale explain
      tradu scale explain --pool gpu --limit 50 --json
      tradu scale explain --job 0a9f8e
    """
    from tradu.cli import decisions
    from tradu.cli.ledger import find_job
    from tradu.ledger.pools import DecisionRow, FeedDecision

    output, ledger = Output(as_json), _ledger()
    asked = find_job(ledger, job) if job else None
    name = None if asked else _pool(ledger, pool).pool
    with ledger.transaction() as tx:
        of_pool = tx.rows("decisions_about", DecisionRow, pool=name, limit=limit)
        of_shards = tx.rows("feed_decisions", FeedDecision, job_id=asked and asked.job_id, limit=limit)
    if as_json:
        output.data({"pool": of_pool, "sharding": asked and asked.sharding, "shards": of_shards})
        return
    if name:
        decisions.show_pool(name, of_pool, output)
    decisions.show_shards(asked, of_shards, output)


@scale.command("set")
def set_(
    wanted: Annotated[int, typer.Argument(metavar="WORKERS", min=0, help="How many workers.")],
    pool: PoolName = None,
    as_json: options.Json = False,
) -> None:
    """Set the number of workers of a pool by hand; it stays so until `tradu scale resume`.

    \b
    Examples:
      tradu scale set 3
      tradu scale set 0 --pool gpu
    """
    ledger = _ledger()
    name = _pool(ledger, pool).pool
    with ledger.transaction() as tx:
        tx.run("set_pool", pool=name, wanted=wanted, by=me())
    _say(as_json, ledger, name, f"Pool {name} shall have {wanted} workers, and is paused: tradu scale resume")


@scale.command()
def pause(pool: PoolName = None, as_json: options.Json = False) -> None:
    """Leave the number of workers of a pool as it is.

    \b
    Examples:
      tradu scale pause
    """
    _pause(pool, paused=True, as_json=as_json)


@scale.command()
def resume(pool: PoolName = None, as_json: options.Json = False) -> None:
    """Let a pool be scaled again.

    \b
    Examples:
      tradu scale resume
    """
    _pause(pool, paused=False, as_json=as_json)


def _pause(pool: str | None, *, paused: bool, as_json: bool) -> None:
    ledger = _ledger()
    name = _pool(ledger, pool).pool
    with ledger.transaction() as tx:
        tx.run("pause_pool", pool=name, paused=paused, by=me())
    _say(as_json, ledger, name, f"Pool {name} is {'paused' if paused else 'scaled again'}.")


def _say(as_json: bool, ledger: Ledger, name: str, message: str) -> None:
    output = Output(as_json)
    if as_json:
        output.data(_pool(ledger, name))
    else:
        output.say(message)


@dask_workers.command()
def roll(
    pool: PoolName = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done, half an hour at most.")] = True,
    as_json: options.Json = False,
) -> None:
    """Start all workers of a pool again, one after another, for a new version or model. Work goes on, nothing is lost.

    Each worker takes no further work, ends what it is at, and is started again; then comes the next one.

    \b
    Examples:
      tradu workers roll
      tradu workers roll --pool gpu --no-wait
    """
    output, ledger = Output(as_json), _ledger()
    name, begun = _pool(ledger, pool).pool, time.monotonic()
    with ledger.transaction() as tx:
        tx.run("roll_pool", pool=name)
    while wait and (left := _left(ledger, name)):
        if time.monotonic() - begun > ROLL_SECONDS:
            raise TransientError(
                f"{left} workers of pool {name} are still to be started again: see `tradu scale status`"
            )
        time.sleep(1)
    took = time.monotonic() - begun
    if as_json:
        output.data({"pool": name, "seconds": took if wait else None})
    else:
        output.say(
            f"The workers of pool {name} were started again in {duration(took)}." if wait else f"Pool {name} rolls."
        )


def _left(ledger: Ledger, name: str) -> int:
    from tradu.ledger import pools

    with ledger.transaction() as tx:
        return pools.left_to_roll(tx, name)


def controller() -> None:
    """Run a controller: it decides how many workers each pool shall have. `tradu up` runs one; more may run elsewhere.

    \b
    Examples:
      tradu controller
    """
    from tradu import telemetry
    from tradu.cluster.scaling.controller import Controller
    from tradu.ledger.connection import get_ledger
    from tradu.settings import get_settings

    ledger = get_ledger("controller")
    telemetry.log_json(instance_id=ledger.actor)
    Controller(ledger, get_settings(), ledger.actor).run(_until_stopped())


def agent(
    group: Annotated[
        str | None,
        typer.Option("--group", metavar="NAME", help="In a pod: scale this worker group of the Dask operator instead."),
    ] = None,
    pool: Annotated[str, typer.Option("--pool", metavar="NAME", help="With --group: the pool of its workers.")] = "cpu",
    most: Annotated[int, typer.Option("--most", min=1, help="With --group: the most workers that it may have.")] = 8,
) -> None:
    """Run the agent of this machine: it starts, drains and stops its workers as wanted. `tradu up` runs one.

    \b
    Examples:
      tradu agent
      tradu agent --group tradu-cpu --most 32
    """
    from tradu import telemetry
    from tradu.cluster.scaling.kubernetes import GroupAgent, group_here
    from tradu.ledger.connection import get_ledger
    from tradu.settings import get_settings
    from tradu.stack.agent import HostAgent
    from tradu.stack.host import this_host
    from tradu.stack.layout import Layout

    ledger = get_ledger("agent")
    telemetry.log_json(instance_id=ledger.actor)
    if group is not None:
        GroupAgent(ledger, group_here(group), pool, most).run(_until_stopped())
    else:
        HostAgent(ledger, Layout(get_settings()), this_host()).run(_until_stopped())


def _until_stopped() -> threading.Event:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    return ended


def _ledger() -> Ledger:
    from tradu.cli.ledger import open_ledger
    from tradu.settings import get_settings

    return open_ledger(get_settings())


def _pool(ledger: Ledger, name: str | None) -> Pool:
    """The pool of this name, or the only one.

    Raises:
        RequestError: there is none, or there are several and none was named.
    """
    from tradu.ledger import pools

    with ledger.transaction() as tx:
        found = pools.pools(tx)
    if not found:
        raise RequestError("there are no pools yet: the controller makes them when an agent has workers")
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        raise RequestError(f"{'name a pool with --pool' if name is None else f'no pool {name!r}'}: {', '.join(found)}")
    return found[name]
