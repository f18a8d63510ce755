"""Control of a batch: duplicates, repairs, fall-back, broken engines and poison texts."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradu.errors import ModelError, RequestError, ResourceError, UnwantedError
from tradu.inference import deadline
from tradu.inference import engines as engine_registry
from tradu.inference.made import Made
from tradu.inference.model import Engine, Model
from tradu.inference.pool import EnginePool
from tradu.inference.translate import Climb, Judge, Verdict, translate


class Scripted:
    """An engine that does what a function says, and remembers what it was given."""

    def __init__(self, say: Callable[[str], str]) -> None:
        self.say = say
        self.calls: list[list[str]] = []
        self.closed = 0

    def translate(self, texts: Sequence[str]) -> list[str]:
        self.calls.append(list(texts))
        return [self.say(text) for text in texts]

    def close(self) -> None:
        self.closed += 1


class Bench:
    """Engines by model name, loaded through the real pool."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engines: dict[str, Scripted] = {}
        self.loads: list[str] = []
        monkeypatch.setattr(engine_registry, "load", self._load)
        self.pool = EnginePool()

    def _load(self, model: Model) -> Engine:
        self.loads.append(model.name)
        return self.engines[model.name]

    def model(self, name: str, say: Callable[[str], str], tier: str = "standard") -> Model:
        self.engines[name] = Scripted(say)
        return Model(name, "1", "identity", tier, "en", "pt", "MIT", 1, 1.0)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def good(source: str, made: Made, tier: str) -> Verdict:
    return Verdict(())


def reasons_by(why: Callable[[str, str], tuple[str, ...]]) -> Judge:
    return lambda source, made, tier: Verdict(why(source, made.text))


def bad_if(mark: str) -> Judge:
    return lambda source, made, tier: Verdict((f"has {mark}",) if mark in made.text else ())


def fail(text: str) -> str:
    raise ValueError(f"can't do {text}")


def poison(text: str) -> str:
    if "poison" in text:
        raise ModelError("the pipeline died")
    return text.upper()


def test_duplicates_are_translated_once_and_order_is_kept(bench: Bench) -> None:
    a = bench.model("a", str.upper)
    outcomes = translate(["x", "y", "x"], [(a,)], good, bench.pool)
    assert [o.text for o in outcomes] == ["X", "Y", "X"]
    assert bench.engines["a"].calls == [["x", "y"]]
    assert (outcomes[0].models, outcomes[0].tier, outcomes[0].attempts) == (("a@1",), "standard", 1)


def test_only_bad_output_goes_to_the_next_route(bench: Bench) -> None:
    a, b = bench.model("a", lambda t: t + "!"), bench.model("b", str.upper, tier="economy")
    outcomes = translate(
        ["x", "y!"], [(a,), (b,)], reasons_by(lambda s, t: ("doubled",) if "!!" in t else ()), bench.pool
    )
    assert [(o.text, o.models, o.tier, o.attempts) for o in outcomes] == [
        ("x!", ("a@1",), "standard", 1),
        ("Y!", ("b@1",), "economy", 2),
    ]
    assert bench.engines["b"].calls == [["y!"]]


def test_the_best_attempt_stands_where_all_are_bad(bench: Bench) -> None:
    judge = {"x1": ("one", "two"), "x2": ("one",), "x3": ("other",)}
    routes = [(bench.model(n, lambda t, n=n: f"{t}{n}"),) for n in "123"]
    (outcome,) = translate(["x"], routes, reasons_by(lambda s, t: judge[t]), bench.pool)
    assert (outcome.text, outcome.reasons, outcome.models, outcome.attempts) == ("x2", ("one",), ("2@1",), 3)


def test_a_pivot_goes_leg_by_leg(bench: Bench) -> None:
    a, b = bench.model("a", lambda t: t + "1"), bench.model("b", lambda t: t + "2", tier="economy")
    (outcome,) = translate(["x"], [(a, b)], good, bench.pool)
    assert (outcome.text, outcome.models, outcome.tier) == ("x12", ("a@1", "b@1"), "economy")


def test_numbers_an_engine_breaks_are_carried_as_codes(bench: Bench) -> None:
    a = bench.model("a", lambda t: re.sub(r"\d", "9", t.upper()))
    judge = reasons_by(lambda s, t: () if re.findall(r"\d+", s) == re.findall(r"\d+", t) else ("numbers",))
    (outcome,) = translate(["it costs 1,250 in 2031"], [(a,)], judge, bench.pool)
    assert (outcome.text, outcome.reasons, outcome.attempts) == ("IT COSTS 1,250 IN 2031", (), 2)


def test_long_text_that_goes_wrong_is_tried_by_clauses(bench: Bench) -> None:
    a = bench.model("a", lambda t: t[:80].upper())
    text = "the first clause is here, " * 6
    (outcome,) = translate(
        [text], [(a,)], reasons_by(lambda s, t: () if len(t) == len(s) else ("cut off",)), bench.pool
    )
    assert (outcome.text, outcome.reasons) == (text.upper(), ())


def test_one_poison_text_costs_its_neighbours_nothing(bench: Bench) -> None:
    a = bench.model("a", poison)
    texts = [f"t{i}" for i in range(20)]
    texts[13] = "poison"
    outcomes = translate(texts, [(a,)], good, bench.pool)
    assert [o.text for o in outcomes] == [t if t == "poison" else t.upper() for t in texts]
    assert outcomes[13].reasons == ("engine failed: the pipeline died",)
    assert outcomes[13].models == ()
    assert (
        bench.engines["a"].closed == bench.loads.count("a") - 1
    )  # each failure ends the engine, and it is loaded anew


def test_a_poison_text_is_tried_with_the_next_route(bench: Bench) -> None:
    a, b = bench.model("a", poison), bench.model("b", str.title)
    outcomes = translate(["poison", "fine"], [(a,), (b,)], good, bench.pool)
    assert [(o.text, o.models) for o in outcomes] == [("Poison", ("b@1",)), ("FINE", ("a@1",))]


def test_a_broken_engine_is_given_up_after_a_few_texts(bench: Bench) -> None:
    a, b = bench.model("a", fail), bench.model("b", str.upper)
    texts = [f"t{i}" for i in range(64)]
    outcomes = translate(texts, [(a,), (b,)], good, bench.pool)
    assert [o.text for o in outcomes] == [t.upper() for t in texts]
    assert len(bench.engines["a"].calls) < 20


def test_all_engines_broken_is_an_error(bench: Bench) -> None:
    with pytest.raises(ModelError, match=r"^engine failed: a: ValueError; the worker's log says more$"):
        translate(["x"], [(bench.model("a", fail),), (bench.model("b", fail),)], good, bench.pool)


def test_an_engine_that_miscounts_is_broken(bench: Bench) -> None:
    a = bench.model("a", str.upper)
    bench.engines["a"].translate = lambda texts: ["only one"]  # type: ignore[method-assign]
    outcomes = translate(["x", "y"], [(a,)], good, bench.pool)
    assert [o.text for o in outcomes] == ["only one", "only one"]  # one by one it counts right
    assert bench.loads == ["a", "a"]


def test_out_of_memory_is_not_the_models_fault(bench: Bench) -> None:
    def greedy(text: str) -> str:
        raise MemoryError

    with pytest.raises(ResourceError, match="out of memory"):
        translate(["x"], [(bench.model("a", greedy),)], good, bench.pool)


def test_a_route_that_is_worse_does_not_replace_a_better_one(bench: Bench) -> None:
    a, b = bench.model("a", lambda t: "a#"), bench.model("b", fail)
    (outcome,) = translate(["x"], [(a,), (b,)], bad_if("#"), bench.pool)
    assert (outcome.text, outcome.reasons) == ("a#", ("has #",))


def scored(**scores: float) -> Judge:
    """A judge who knows the score of each translation, and finds nothing wrong with any."""
    return lambda source, made, tier: Verdict((), scores[made.text])


def two_rungs(bench: Bench, high: Callable[[str], str] = str.upper) -> list[tuple[Model, ...]]:
    return [(bench.model("low", lambda t: t + "1"),), (bench.model("high", high, tier="premium"),)]


def test_only_what_scores_low_climbs(bench: Bench) -> None:
    routes = two_rungs(bench)
    made = translate(["a", "b"], routes, scored(a1=0.4, b1=0.6, A=0.3), bench.pool, Climb(0.5))
    assert [(o.text, o.tier, o.climbed_from, o.first_score) for o in made] == [
        ("A", "premium", "standard", 0.4),  # what the higher tier made stands, whatever its score
        ("b1", "standard", "", None),
    ]
    assert bench.engines["high"].calls == [["a"]]
    assert [(s.tier, s.models, s.texts, s.characters) for s in bench.pool.spent()] == [
        ("standard", "low@1", 2, 2),
        ("premium", "high@1", 1, 1),
    ]


def test_without_a_threshold_nothing_climbs(bench: Bench) -> None:
    made = translate(["a"], two_rungs(bench), scored(a1=0.1), bench.pool)
    assert (made[0].text, bench.engines["high"].calls) == ("a1", [])
    assert bench.loads == ["low"], "a tier that nothing needs is not even loaded"


def test_nothing_climbs_to_a_lower_tier(bench: Bench) -> None:
    routes = [*two_rungs(bench), (bench.model("lowest", str.title, tier="economy"),)]
    translate(["a"], routes, scored(a1=0.1, A=0.1), bench.pool, Climb(0.5))
    assert bench.engines["lowest"].calls == []


def test_a_higher_tier_that_does_worse_changes_nothing(bench: Bench) -> None:
    judge: Judge = lambda s, made, t: Verdict(("bad",) if made.text == "A" else (), 0.2)  # noqa: E731
    (outcome,) = translate(["a"], two_rungs(bench), judge, bench.pool, Climb(0.5))
    assert (outcome.text, outcome.climbed_from, outcome.attempts) == ("a1", "", 2)


def test_a_higher_tier_that_breaks_changes_nothing(bench: Bench) -> None:
    (outcome,) = translate(["b"], two_rungs(bench, fail), scored(b1=0.2), bench.pool, Climb(0.5))
    assert (outcome.text, outcome.reasons) == ("b1", ())


def test_the_allowance_goes_to_the_lowest_scores(bench: Bench) -> None:
    routes = two_rungs(bench)
    judge = scored(a1=0.3, b1=0.1, c1=0.2, A=1, B=1, C=1)
    for_two = Climb(0.5, lambda: 2.5e-6)  # one CPU second a million characters
    made = translate(["a", "b", "c"], routes, judge, bench.pool, for_two)
    assert [(o.text, o.stayed) for o in made] == [("a1", True), ("B", False), ("C", False)]


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=12), below=st.floats(0, 1), seconds=st.floats(0, 12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_a_text_becomes_does_not_depend_on_its_neighbours(
    bench: Bench, scores: list[float], below: float, seconds: float
) -> None:
    texts = [chr(ord("a") + i) for i in range(len(scores))]
    judge = scored(**{f"{t}1": s for t, s in zip(texts, scores, strict=True)}, **{t.upper(): 1.0 for t in texts})
    routes = two_rungs(bench)
    together = translate(texts, routes, judge, bench.pool, Climb(below))
    assert together == [translate([t], routes, judge, bench.pool, Climb(below))[0] for t in texts]
    tight = translate(texts, routes, judge, bench.pool, Climb(below, lambda: seconds * 1e-6))
    assert sum(o.climbed_from != "" for o in tight) <= seconds + 1e-6
    assert all(o.stayed or o == free for o, free in zip(tight, together, strict=True))


def test_when_the_time_is_over_what_is_done_stays_and_no_model_is_blamed_for_the_rest(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(deadline, "monotonic", lambda: now[0])

    def slow(text: str) -> str:
        if text == "d":
            now[0] += 6
            raise ModelError("it hangs")
        return text.upper()

    model, other = bench.model("slow", slow), bench.model("other", str.upper)
    with deadline.within(10):
        made = translate(["a", "b", "c", "d"], [(model,), (other,)], good, bench.pool)
    assert [(o.text, o.reasons) for o in made] == [
        ("A", ()),
        ("B", ()),
        *((text, ("engine failed: no time left",)) for text in "cd"),
    ]
    assert bench.engines["slow"].calls == [["a", "b", "c", "d"], ["a", "b"], ["c", "d"]], "it was not halved further"
    assert bench.engines["other"].calls == []
    assert bench.pool.noted() == {"slow@1": None}
    with deadline.within(0), pytest.raises(ModelError, match="no time left"):
        translate(["a"], [(model,)], good, bench.pool)
    assert bench.pool.noted() == {}


def test_what_nobody_wants_any_more_is_given_up_and_no_model_blamed(bench: Bench) -> None:
    unwanted = threading.Event()

    def stopped(text: str) -> str:
        unwanted.set()
        raise ModelError("it broke")

    model, other = bench.model("stopped", stopped), bench.model("other", str.upper)
    with deadline.within(600, unwanted), pytest.raises(UnwantedError):
        translate(["a", "b"], [(model,), (other,)], good, bench.pool)
    assert bench.engines["stopped"].calls == [["a", "b"]], "it was not halved"
    assert bench.engines["other"].calls == []
    assert bench.pool.noted() == {}
    assert [each.models for each in bench.pool.spent()] == ["stopped@1"], "it has cost something all the same"


def test_what_nobody_wants_any_more_is_no_translation(bench: Bench) -> None:
    unwanted = threading.Event()
    model = bench.model("late", lambda text: unwanted.set() or text.upper())  # type: ignore[func-returns-value]
    with deadline.within(600, unwanted), pytest.raises(UnwantedError):
        translate(["a"], [(model,)], good, bench.pool)


def test_without_time_to_climb_the_lower_tier_stands_in(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(deadline, "monotonic", lambda: now[0])
    routes, judge = two_rungs(bench), scored(a1=0.1, A=0.9)

    def slowly(source: str, made: Made, tier: str) -> Verdict:
        now[0] += 11
        return judge(source, made, tier)

    with deadline.within(10):
        (outcome,) = translate(["a"], routes, slowly, bench.pool, Climb(0.5))
    assert (outcome.text, outcome.reasons, outcome.climbed_from) == ("a1", (), "")


def test_nothing_to_do_and_nothing_to_do_it_with(bench: Bench) -> None:
    assert translate([], [(bench.model("a", fail),)], good, bench.pool) == []
    with pytest.raises(RequestError):
        translate(["x"], [], good, bench.pool)


def test_the_pool_loads_once_and_tells_what_it_can_not_warm(bench: Bench) -> None:
    a, b = bench.model("a", str.upper), bench.model("b", fail)
    del bench.engines["b"]
    failures = bench.pool.warm([a, b])
    assert len(failures) == 1
    assert "b: can't be loaded" in failures[0]
    translate(["x"], [(a,)], good, bench.pool)
    assert bench.loads == ["a", "b"]
    bench.pool.close()
    bench.pool.close()
    assert bench.engines["a"].closed == 1
