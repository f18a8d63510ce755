"""The planner packs models below the workers' memory, replicates the busy ones, and lets stay what is loaded."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from tradu.cluster import FEEDERS, alive, is_alive
from tradu.cluster.placement import Host, Need, place


def need(name: str, load: float = 1.0, device: str = "cpu", **models: float) -> Need:
    sizes = {model: {device: mb} for model, mb in (models or {name: 40.0}).items()}
    return Need((name, "pt", "balanced"), sizes, load)


def host(name: str, mb: float = 100, *loaded: str, gpu: float = 0) -> Host:
    return Host(name, {"cpu": mb, "cuda": gpu}, frozenset(loaded))


def placed(needs: list[Need], hosts: list[Host]) -> dict[str, str]:
    return {name[0]: "".join(addresses) for name, addresses in place(needs, hosts).items()}


def test_what_fits_everywhere_is_everywhere() -> None:
    assert placed([need("a"), need("b")], [host("1"), host("2")]) == {"a": "12", "b": "12"}


def test_models_that_do_not_fit_together_are_kept_apart() -> None:
    both = placed([need("a"), need("b")], [host("1", 50), host("2", 50)])
    assert sorted(both.values()) == ["1", "2"]


def test_the_busy_one_has_the_replicas() -> None:
    found = placed([need("cold", 1), need("hot", 9)], [host(n, 50) for n in "1234"])
    assert (len(found["hot"]), len(found["cold"])) == (3, 1)


def test_the_largest_is_placed_first_and_small_ones_fill_what_is_left() -> None:
    needs = [need("s1", s1=40), need("large", large=90), need("s2", s2=50)]
    found = placed(needs, [host("1", 100), host("2", 100)])
    assert found["s1"] == found["s2"] != found["large"]


def test_what_is_loaded_stays_where_it_is() -> None:
    hosts = [host("1", 50, "b"), host("2", 50, "a")]
    assert placed([need("a"), need("b")], hosts) == {"a": "2", "b": "1"}


def test_models_that_needs_share_count_once() -> None:
    needs = [need("a", pivot=60, a=20), need("b", pivot=60, b=20)]
    assert placed(needs, [host("1", 100)]) == {"a": "1", "b": "1"}
    assert set(placed(needs, [host("1", 100), host("2", 100)]).values()) == {"12"}


def test_a_model_for_a_gpu_goes_to_a_gpu() -> None:
    hosts = [host("1", 1000), host("2", 10, gpu=100)]
    assert placed([need("a", device="cuda")], hosts) == {"a": "2"}


def test_what_fits_nowhere_is_somewhere_and_without_workers_nowhere() -> None:
    assert placed([need("a", a=500)], [host("1", 10), host("2", 20)]) == {"a": "2"}
    assert placed([need("a")], []) == {"a": ""}


_needs = st.lists(
    st.builds(
        lambda models, load: (models, load),
        st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 100), min_size=1, max_size=3),
        st.floats(0, 100),
    ),
    max_size=8,
)


@given(_needs, st.lists(st.integers(1, 200), min_size=1, max_size=6))
def test_no_worker_is_overfilled_by_choice(wanted: list[tuple[dict[str, int], float]], sizes: list[int]) -> None:
    # each need has models of its own: beyond its memory a worker has only what fitted nowhere, which has no replicas
    needs = [need(f"n{i}", load, **{f"{m}{i}": mb for m, mb in ms.items()}) for i, (ms, load) in enumerate(wanted)]
    hosts = [host(str(i), mb) for i, mb in enumerate(sizes)]
    found = place(needs, hosts)
    for each in hosts:
        own = [n for n in needs if each.address in found[n.name]]
        if sum(n.memory_mb()["cpu"] for n in own) > each.budget_mb["cpu"]:
            assert any(len(found[n.name]) == 1 for n in own)


@given(_needs, st.lists(st.integers(1, 200), min_size=1, max_size=6), st.randoms())
def test_every_need_has_workers_whatever_the_order(
    wanted: list[tuple[dict[str, int], float]], sizes: list[int], chance: random.Random
) -> None:
    known = {name: mb for models, _ in wanted for name, mb in models.items()}  # a model has one size
    needs = [need(f"n{i}", load, **{m: known[m] for m in models}) for i, (models, load) in enumerate(wanted)]
    hosts = [host(str(i), mb) for i, mb in enumerate(sizes)]
    found = place(needs, hosts)
    assert all(addresses for addresses in found.values())
    assert place(chance.sample(needs, len(needs)), chance.sample(hosts, len(hosts))) == found
    if sum(known.values()) <= min(sizes):
        assert all(len(addresses) == len(hosts) for addresses in found.values())


class Task:
    def __init__(self, state: str, restricted: bool) -> None:
        self.state = state
        self.worker_restrictions: set[str] = set()
        self.resource_restrictions = {"model-mb": 1.0} if restricted else {}


class Scheduler:
    def __init__(self, *tasks: Task) -> None:
        self.tasks = {("run_batch", "job", 1, 2, n): task for n, task in enumerate(tasks)}
        self.plugins: dict[str, object] = {}


def test_a_submission_whose_tasks_no_worker_may_take_is_dead() -> None:
    def lives(*tasks: Task) -> bool:
        return is_alive("job", 1, 2, dask_scheduler=Scheduler(*tasks))

    assert lives(Task("processing", restricted=True))
    assert lives(Task("no-worker", restricted=False))
    assert lives(Task("memory", restricted=False), Task("queued", restricted=True))
    assert not lives(Task("no-worker", restricted=True), Task("memory", restricted=True))


class Fed:
    def feeds(self, job: str, shard: int, epoch: int) -> bool:
        return (job, shard, epoch) == ("job", 1, 2)

    def fed(self) -> set[tuple[str, int]]:
        return {("job", 1)}


def test_a_submission_lives_while_it_is_fed_and_something_of_it_may_run() -> None:
    between, stranded = Scheduler(), Scheduler(Task("no-worker", restricted=True))
    for scheduler in (between, stranded):
        scheduler.plugins[FEEDERS] = Fed()
    assert is_alive("job", 1, 2, dask_scheduler=between)
    assert not is_alive("job", 1, 3, dask_scheduler=between)
    assert not is_alive("job", 1, 2, dask_scheduler=stranded)
    assert alive([("job", 1), ("job", 2)], dask_scheduler=between) == {("job", 1)}
    assert alive([("job", 1)], dask_scheduler=stranded) == set()
