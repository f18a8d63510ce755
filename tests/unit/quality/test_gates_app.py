"""The gates' pages are served to signed-in users only, from the store only, and can load nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

pytest.importorskip("airflow")

from airflow.api_fastapi.core_api.security import get_user

from tradu.store import Store
from tradu_airflow import gates_app, links

PAGE = "<p>Gate</p>"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    store = Store((tmp_path / "store").as_uri())
    store.create()
    store.put("gates/j/blocks/index.html", PAGE.encode())
    store.put("gates/j/blocks/logo.png", b"png")
    store.put("raw/secret", b"secret")
    overrides = gates_app.app.dependency_overrides
    overrides[gates_app.get_store] = lambda: store
    yield TestClient(gates_app.app)
    overrides.clear()


@pytest.fixture
def signed_in(client: TestClient) -> TestClient:
    gates_app.app.dependency_overrides[get_user] = object
    return client


def calls(dependant: Dependant) -> Iterator[object]:
    yield dependant.call
    for inner in dependant.dependencies:
        yield from calls(inner)


def test_every_route_asks_for_a_user() -> None:
    routes = gates_app.app.routes
    assert routes
    for route in routes:
        assert isinstance(route, APIRoute), f"{route} is outside the app's dependencies"
        assert get_user in set(calls(route.dependant)), route.path


def test_nobody_is_served_without_a_token(client: TestClient) -> None:
    assert client.get("/j/blocks/index.html").status_code == 401


def test_pages_are_served_with_their_type_and_may_load_nothing(signed_in: TestClient) -> None:
    for address in ("/j/blocks/", "/j/blocks/index.html"):
        answer = signed_in.get(address)
        assert (answer.status_code, answer.text) == (200, PAGE)
        assert answer.headers["content-type"].startswith("text/html")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert signed_in.get("/j/blocks/logo.png").headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "address",
    ["/j/blocks/other.html", "/x/blocks/index.html", "/j/blocks/%2e%2e/%2e%2e/%2e%2e/raw/secret", "/../raw/secret",
     "/%2e%2e/raw/secret", "/j/blocks/..%2f..%2f..%2fraw/secret", "/j/blocks//etc/passwd", "/j/blocks"],
)  # fmt: skip
def test_nothing_else_is_served(signed_in: TestClient, address: str) -> None:
    answer = signed_in.get(address, follow_redirects=False)
    assert answer.status_code in (307, 404)
    assert "secret" not in answer.text or "no Data Docs" in answer.text


def test_the_link_leads_to_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.execution_time import xcom

    address = links.data_docs_url("gates/j/blocks/index.html")
    assert address == f"{gates_app.URL_PREFIX}/j/blocks/index.html"
    for left, wanted in ((address, address), (None, "")):
        monkeypatch.setattr(
            xcom.XCom, "get_value", lambda *, ti_key, key, left=left: left if key == links.XCOM_KEY else None
        )
        assert links.DataDocsLink().get_link(object(), ti_key=object()) == wanted
