"""The docs name what is there: dependencies, links, states, Airflow's settings, formats, gates' reasons."""

from __future__ import annotations

import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tradu.cli import reference_states
from tradu.documents.registry import formats
from tradu.ledger import states
from tradu.quality.rules import rules
from tradu.settings import Settings
from tradu.stack import airflow_config
from tradu.stack.host import GIB, Host
from tradu.stack.layout import Layout

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *REPOSITORY.glob("*.md")])
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def _prose(page: Path) -> str:
    return _CODE.sub(lambda m: m[0].strip("`"), _FENCE.sub("", page.read_text(encoding="utf-8")))


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", _prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def _section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def _first_column(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(_prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_listed_in_the_index() -> None:
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in _LINK.findall(_prose(DOCS / "index.md"))}
    assert {page for page in DOCS.rglob("*.md") if page.name != "index.md"} <= linked


@pytest.mark.parametrize(("title", "extra"), [("What runs", None), ("Extra `dev`", "dev")])
def test_the_dependencies_are_these(title: str, extra: str | None) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = project["optional-dependencies"][extra] if extra else project["dependencies"]
    section = _section((DOCS / "dependencies.md").read_text(encoding="utf-8"), title)
    listed = [canonicalize_name(name) for name in _first_column(section)]
    assert sorted(listed) == sorted(canonicalize_name(Requirement(line).name) for line in asked)


def test_every_dependency_has_a_reason_and_a_licence() -> None:
    rows = re.findall(r"^\| `.*$", (DOCS / "dependencies.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert all(len(cell.strip()) > 2 for row in rows for cell in row.strip("|").split("|"))
    assert all(row.count("|") == 4 for row in rows)


def test_the_page_of_states_is_what_the_code_says() -> None:
    assert reference_states.PAGE.read_text(encoding="utf-8") == reference_states.page(), (
        "run python -m tradu.cli.reference_states"
    )


def test_the_page_of_states_has_every_transition() -> None:
    found = set()
    for entity, title in (("job", "Jobs"), ("document", "Documents"), ("block", "Blocks")):
        for before, after in re.findall(
            r"^\| (\S+) \| ([A-Z, ]+) \|", _section(reference_states.page(), title), flags=re.MULTILINE
        ):
            found |= {(entity, "" if before == "(new)" else before, state) for state in after.split(", ")}
    assert found == set(states.rows())


def test_airflow_settings_are_those_of_the_stack(tmp_path: Path) -> None:
    text = _section((DOCS / "operations.md").read_text(encoding="utf-8"), "Airflow's settings")
    rows = re.findall(r"^\| `([\w.]+)` \| (\S+) \| (\S+) \|", text, flags=re.MULTILINE)
    ours = airflow_config.options(Layout(Settings(home=tmp_path)), Host(cores=2, memory_bytes=4 * GIB, gpus=0))
    spec = find_spec("airflow")
    assert spec
    assert spec.submodule_search_locations
    file = next(
        f for p in spec.submodule_search_locations if (f := Path(p) / "config_templates" / "config.yml").is_file()
    )
    defaults = yaml.safe_load(file.read_text(encoding="utf-8"))
    said = {}
    for name, here, default in rows:
        section, option = name.split(".")
        assert ours[section][option] == here, name
        assert str(defaults[section]["options"][option]["default"]) == default, name
        said[name] = here
    tuned = {f"{section}.{option}" for section in ("scheduler", "dag_processor", "workers") for option in ours[section]}
    assert tuned <= set(said)


def test_every_format_is_described() -> None:
    text = (DOCS / "formats.md").read_text(encoding="utf-8")
    for found in formats().values():
        for extension in found.extensions:
            assert f"`{extension}`" in text, (found.name, extension)


@pytest.mark.parametrize("suite", ["blocks", "translations"])
def test_every_reason_of_a_gate_is_explained(suite: str) -> None:
    text = (DOCS / "why-did-my-document-stop.md").read_text(encoding="utf-8")
    for rule in rules(suite):
        assert f"`{rule.reason}`" in text, rule.reason
