"""The registry reads, merges and checks its files; routes go direct before pivots, tier by tier."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradu.errors import RequestError, SystemicError
from tradu.inference.model import Model
from tradu.inference.registry import load_registry, profile_names
from tradu.inference.routes import find_routes, tier_of
from tradu.settings import Settings

INCLUDE = Path(__file__).resolve().parents[3] / "include"


def settings(home: Path) -> Settings:
    return Settings(home=home, include=INCLUDE)


def own_models(home: Path, text: str) -> Settings:
    (home / "models.yaml").write_text(text)
    return settings(home)


def model(source: str, target: str, tier: str = "economy", cost: float = 1, name: str = "") -> Model:
    return Model(name or f"{source}-{target}-{tier}", "1", "identity", tier, source, target, "MIT", 1, cost)


def names(routes: tuple[tuple[Model, ...], ...]) -> list[str]:
    return ["+".join(m.name for m in route) for route in routes]


def test_the_shipped_registry_loads_and_the_wheel_models_are_installed(tmp_path: Path) -> None:
    registry = load_registry(settings(tmp_path))
    shipped = registry.model("firefox-en-pt")
    assert registry.status(shipped).installed
    assert len(shipped.version.partition("-")[0]) == 12
    assert shipped.cpu_seconds_per_million_chars > 0
    assert ("en", "pt") in registry.pairs()
    assert registry.routes("en", "pt_BR", "balanced")[0] == (shipped,)
    assert {p.name for p in registry.profiles()} >= {"economy", "balanced", "premium", "identity"}


def test_a_missing_model_says_how_to_add_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    registry = load_registry(settings(tmp_path))
    status = registry.status(registry.model("firefox-en-de"))
    assert (status.installed, status.how_to_add) == (False, "fxtranslate models add en de")
    with pytest.raises(RequestError, match=r"no model translates en to de .*en->pt.*fxtranslate models add en de"):
        registry.routes("en", "de", "balanced")


@pytest.mark.parametrize("harm", ["nothing in its folder", "no server", "a wrong option"])
def test_a_model_that_can_not_be_looked_at_takes_no_other_one_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    away = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    for name, value in (away | {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "mounted").mkdir()
    where = {
        "nothing in its folder": f"weights: {tmp_path}/mounted",
        "no server": f"weights: 's3://bucket/model', checksum: {'a' * 64}",
        "a wrong option": "options: {candidates: '99'}",
    }[harm]
    registry = load_registry(
        own_models(
            tmp_path,
            "models:\n  away: {engine: firefox, tier: standard, source: fi, target: is, licence: MIT, memory_mb: 1,"
            f" cpu_seconds_per_million_chars: 1, {where}}}\n",
        )
    )
    status = registry.status(registry.model("away"))
    assert (status.installed, status.unknown, registry.is_whole) == (False, True, False)
    assert names(registry.routes("en", "pt", "balanced"))[0] == "firefox-en-pt"
    with pytest.raises(SystemicError, match=r"fi to is can't be said now: no look at away \("):
        registry.routes("fi", "is", "balanced")
    with pytest.raises(RequestError, match="no model translates is to fi"):
        registry.routes("is", "fi", "balanced")


def test_identity_is_used_only_where_its_profile_is_asked_for(tmp_path: Path) -> None:
    registry = load_registry(settings(tmp_path))
    assert names(registry.routes("pt", "pt", "identity")) == ["identity"]
    with pytest.raises(RequestError, match="same language"):
        registry.routes("pt", "pt", "balanced")
    with pytest.raises(RequestError, match="uses only identity"):
        registry.routes("en", "pt", "identity")


def test_a_users_file_changes_adds_and_removes_models(tmp_path: Path) -> None:
    registry = load_registry(
        own_models(
            tmp_path,
            "models:\n"
            "  firefox-en-pt: {memory_mb: 7}\n"
            "  firefox-pt-en: null\n"
            "  mine: {engine: identity, tier: premium, source: xx, target: yy, licence: MIT, memory_mb: 1,"
            " cpu_seconds_per_million_chars: 1, version: '3'}\n",
        )
    )
    assert registry.model("firefox-en-pt").memory_mb == 7
    assert registry.model("firefox-en-pt").engine == "firefox"
    assert registry.model("mine").identity == "mine@3"
    with pytest.raises(RequestError, match="there is no model 'firefox-pt-en'; there are"):
        registry.model("firefox-pt-en")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: {x: {engine: identity}}", r"model 'x': tier: Field required"),
        ("models: {firefox-en-pt: {tier: golden}}", r"model 'firefox-en-pt': tier: "),
        ("models: {firefox-en-pt: {source: english}}", r"model 'firefox-en-pt': source: .*not a language code"),
        ("models: {firefox-en-pt: {memmory: 3}}", r"model 'firefox-en-pt': memmory: "),
        ("models: {firefox-en-pt: {engine: nope}}", r"model 'firefox-en-pt': engine: there is no 'nope'"),
        ("models: {firefox-en-pt: 3}", r"model 'firefox-en-pt': "),
        ("models: [1]", r"expected a mapping 'models'"),
        ("models: {", r"not YAML"),
        ("models: {identity: null}", r"profile 'identity' names unknown models: identity"),
    ],
)
def test_a_wrong_file_is_refused_with_the_entry_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        load_registry(own_models(tmp_path, text))


def test_an_unknown_profile_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no profile 'gold'; there are: economy, balanced"):
        load_registry(settings(tmp_path)).routes("en", "pt", "gold")


def test_direct_models_come_before_pivots_and_tiers_in_the_order_asked() -> None:
    models = [model("en", "pt"), model("en", "pt", "standard"), model("en", "es"), model("es", "pt")]
    assert names(find_routes(models, "en", "pt", ("standard", "economy"))) == ["en-pt-standard", "en-pt-economy"]
    assert names(find_routes(models, "en", "pt", ("economy", "standard"))) == ["en-pt-economy", "en-pt-standard"]
    assert names(find_routes(models[1:], "en", "pt", ("economy", "standard"))) == [
        "en-es-economy+es-pt-economy",
        "en-pt-standard",
    ]


def test_pivots_of_three_models_only_where_no_two_lead_there() -> None:
    models = [model("fr", "es"), model("es", "en"), model("en", "ca"), model("en", "fr")]
    assert names(find_routes(models, "fr", "ca", ("economy",))) == ["fr-es-economy+es-en-economy+en-ca-economy"]
    two = [*models, model("es", "ca", cost=9)]
    assert names(find_routes(two, "fr", "ca", ("economy",)))[0] == "fr-es-economy+es-ca-economy"
    assert find_routes(models, "ca", "fr", ("economy",)) == ()


def test_a_pivot_has_the_tier_of_its_weakest_model() -> None:
    assert tier_of((model("en", "pt", "standard"), model("pt", "es"))) == "economy"


def test_an_only_route_gets_a_pivot_as_its_fall_back() -> None:
    models = [model("en", "es"), model("en", "pt", "standard"), model("pt", "es")]
    assert names(find_routes(models, "en", "es", ("standard", "economy"))) == [
        "en-es-economy",
        "en-pt-standard+pt-es-economy",
    ]


def test_the_region_asked_for_wins_and_another_region_never_serves() -> None:
    models = [model("es", "pt", name="plain"), model("es", "pt-BR", name="brazil")]
    assert names(find_routes(models, "es", "pt-BR", ("economy",))) == ["brazil", "plain"]
    assert names(find_routes(models, "es", "pt", ("economy",))) == ["plain", "brazil"]
    assert names(find_routes(models, "es", "pt-PT", ("economy",))) == ["plain"]


def test_cheap_before_dear() -> None:
    models = [model("en", "pt", cost=5, name="dear"), model("en", "pt", cost=2, name="cheap")]
    assert names(find_routes(models, "en", "pt", ("economy",))) == ["cheap", "dear"]


def test_a_mistake_in_profiles_leaves_those_that_are_shipped(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    shipped = profile_names(settings)
    (tmp_path / "profiles.yaml").write_text("profiles: {mine: {tiers: [economy]}}")
    assert set(profile_names(settings)) == {*shipped, "mine"}
    (tmp_path / "profiles.yaml").write_text("profiles: [")
    assert profile_names(settings) == shipped


def test_a_candidate_serves_nobody_until_a_rollout_or_a_profile_names_it(tmp_path: Path) -> None:
    entry = (
        "{engine: identity, candidate_for: firefox-en-pt, tier: TIER, source: en, target: pt, licence: x, "
        "memory_mb: 1, cpu_seconds_per_million_chars: 0}"
    )
    usual = load_registry(Settings(home=tmp_path)).plan("en", "pt", "balanced")
    registry = load_registry(own_models(tmp_path, f"models:\n  next: {entry.replace('TIER', 'standard')}\n"))
    assert registry.model("next").candidate_for == "firefox-en-pt"
    assert registry.plan("en", "pt", "balanced") == usual
    with pytest.raises(RequestError, match="languages and the tier of 'firefox-en-pt'"):
        load_registry(own_models(tmp_path, f"models:\n  next: {entry.replace('TIER', 'premium')}\n"))
    stray = entry.replace("TIER", "standard").replace("firefox-en-pt", "nobody")
    with pytest.raises(RequestError, match="there is no model 'nobody' that is in use"):
        load_registry(own_models(tmp_path, f"models:\n  next: {stray}\n"))
