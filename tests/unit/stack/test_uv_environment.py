"""uv looks for packages where pip is told to."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_FILE = Path(__file__).resolve().parents[3] / ".ci" / "uv_environment.py"
_SPEC = importlib.util.spec_from_file_location("uv_environment", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
uv_environment = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(uv_environment)


def test_a_newcomer_with_no_configuration_gets_nothing() -> None:
    assert uv_environment.uv_variables(uv_environment.pip_options(""), {}) == {}


def test_mirrors_and_certificates_are_carried_over(tmp_path: Path) -> None:
    listing = (
        "global.cert='/etc/own.pem'\n"
        "global.index-url='https://mirror.example/simple'\n"
        f"global.extra-index-url='https://two.example/simple {tmp_path.as_uri()} file:///not/there'\n"
        f"global.find-links='{tmp_path} /not/there'\n"
        "install.trusted-host='mirror.example'\n"
        ":env:.index-url='https://env.example/simple'\n"
    )
    assert uv_environment.uv_variables(uv_environment.pip_options(listing), {"SSL_CERT_FILE": "/mine.pem"}) == {
        "UV_DEFAULT_INDEX": "https://env.example/simple",
        "UV_INDEX": f"https://two.example/simple {tmp_path.as_uri()}",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": str(tmp_path),
        "UV_INSECURE_HOST": "mirror.example",
    }


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX"])
def test_what_the_user_set_for_uv_wins(name: str) -> None:
    options = {"index-url": "https://a.example", "extra-index-url": "https://b.example"}
    assert name not in uv_environment.uv_variables(options, {name: "https://own.example"})
