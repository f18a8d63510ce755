"""The user's models.yaml is changed by the entry: what else stands in it stays, and what was meant comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tradu.errors import RequestError
from tradu.inference import own_models

ENTRY = {"engine": "identity", "options": {"mode": "a: b", "other": "no"}, "cost": 1.5}
OWN = """\
# mine
models:
    # the first
    one: {licence: MIT,
          memory_mb: 7}   # odd
    two:
        licence: MIT

    # about three
    three: null
# the end
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "models.yaml"


def test_a_file_is_made_changed_and_emptied(file: Path) -> None:
    own_models.put(file, "mine", ENTRY)
    own_models.put(file, "123", ENTRY)
    assert own_models.entries(file) == {"mine": ENTRY, "123": ENTRY}
    own_models.put(file, "mine", None)
    assert own_models.entries(file)["mine"] is None
    own_models.drop(file, "mine")
    own_models.drop(file, "123")
    own_models.drop(file, "never there")
    assert own_models.entries(file) == {}
    assert file.read_text().startswith("# Models of your own")


@pytest.mark.parametrize("name", ["one", "two", "three", "four"])
def test_comments_and_other_entries_stay(file: Path, name: str) -> None:
    file.parent.mkdir()
    file.write_text(OWN)
    before = own_models.entries(file)
    own_models.put(file, name, ENTRY)
    assert own_models.entries(file) == before | {name: ENTRY}
    comments = [line for line in OWN.splitlines() if line.lstrip().startswith("#")]
    assert [line for line in file.read_text().splitlines() if line.lstrip().startswith("#")] == comments
    own_models.drop(file, name)
    assert own_models.entries(file) == {n: e for n, e in before.items() if n != name}


def test_a_file_in_one_line_is_written_anew(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("models: {one: {licence: MIT}, two: null}")
    own_models.put(file, "two", ENTRY)
    assert own_models.entries(file) == {"one": {"licence": "MIT"}, "two": ENTRY}


_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
_texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.sampled_from(" \n#:"), max_size=8)
"""Without control characters, some of which PyYAML itself does not give back."""
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.dictionaries(_names, _values, max_size=4), _names, st.dictionaries(_texts, _values, max_size=3))
def test_whatever_stands_in_it_comes_out_as_meant(before: dict[str, Any], name: str, entry: dict[str, Any]) -> None:
    for style in (None, False):
        text = yaml.safe_dump({"models": before}, default_flow_style=style, allow_unicode=True)
        for wanted, block in (
            (before | {name: entry}, yaml.safe_dump({name: entry}, sort_keys=False, allow_unicode=True)),
            ({n: e for n, e in before.items() if n != name}, ""),
        ):
            made = own_models._spliced(text, name, block, wanted)
            assert (yaml.safe_load(made)["models"] or {}) == wanted


@pytest.mark.parametrize("text", ["[1]", "models: 3", "models: {", "other: 1"])
def test_a_file_that_is_none_is_left_alone(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(RequestError, match=r"models\.yaml"):
        own_models.put(file, "mine", ENTRY)
    assert file.read_text() == text
