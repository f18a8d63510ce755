"""docs/reference/ is what the code says, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradu.cli import reference

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_the_page_is_up_to_date(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("TRADU_INCLUDE", "TRADU_CPU_PRICE_PER_HOUR", "TRADU_HOME"):
        monkeypatch.delenv(variable, raising=False)
    page = reference.PAGES[name]()
    assert page == (DOCS / name).read_text(encoding="utf-8"), "run python -m tradu.cli.reference"


def test_no_page_names_a_folder_of_this_machine() -> None:
    checkout = str(Path(__file__).resolve().parents[2])
    for name in reference.PAGES:
        text = (DOCS / name).read_text(encoding="utf-8")
        assert checkout not in text
        assert str(Path.home()) + "/" not in text
