"""What is uploaded, where it goes, and how a request is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradu.cli.follow import Wishes
from tradu.cli.uploads import content_key, find_files, hashed, upload
from tradu.errors import RequestError
from tradu.store import Store


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    (docs / "deep" / ".git").mkdir(parents=True)
    for path in ("a.md", "deep/b.txt", ".hidden", "deep/.git/config", "tradu.yaml"):
        (docs / path).write_text(f"Text of {path}.")
    return docs


def _key(names: list[str], wishes: Wishes = Wishes(["pt"])) -> str:  # noqa: B008 - frozen
    return content_key(hashed(find_files(names)), [], wishes.content())


def test_a_folder_keeps_its_name_and_tree_without_what_is_hidden(tree: Path) -> None:
    assert [f.path for f in find_files([str(tree)])] == ["docs/a.md", "docs/deep/b.txt"]


def test_a_folder_named_by_a_dot_keeps_its_name(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert [f.path for f in find_files(["."])] == ["docs/a.md", "docs/deep/b.txt"]


def test_two_files_of_one_name_get_different_paths(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("another")
    assert [f.path for f in find_files([str(tree / "a.md"), str(tmp_path / "a.md")])] == ["a.md", "a~2.md"]


def test_names_that_lead_to_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such file"):
        find_files([str(tmp_path / "missing.md")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="no document"):
        find_files([str(tmp_path / "empty")])


def test_the_key_is_of_paths_contents_and_wishes(tree: Path) -> None:
    first = _key([str(tree)])
    assert _key([str(tree)]) == first
    others = [
        Wishes(["es"]),
        Wishes(["pt"], source="en"),
        Wishes(["pt"], profile="economy"),
        Wishes(["pt"], tenant="x"),
        Wishes(["pt"], columns=["a"]),
    ]
    assert len({first, *(_key([str(tree)], wishes) for wishes in others)}) == 1 + len(others)
    (tree / "a.md").write_text("Changed.")
    changed = _key([str(tree)])
    (tree / "a.md").rename(tree / "c.md")
    assert len({first, changed, _key([str(tree)])}) == 3


def test_the_order_of_languages_and_files_does_not_matter(tree: Path) -> None:
    files = [str(tree / "a.md"), str(tree / "deep" / "b.txt")]
    assert _key(files, Wishes(["pt", "es"])) == _key(files[::-1], Wishes(["es", "pt"]))


def test_upload_copies_the_bytes_once(tree: Path, tmp_path: Path) -> None:
    store = Store((tmp_path / "store").as_uri())
    store.create()
    files = hashed(find_files([str(tree)]))
    assert upload(files, store, "k") == f"{store.uri}/uploads/k/"
    assert store.get("uploads/k/docs/deep/b.txt") == b"Text of deep/b.txt."
    stored = Path(store.path("uploads/k/docs/a.md"))
    before = stored.stat().st_mtime_ns
    upload(files, store, "k")
    assert stored.stat().st_mtime_ns == before


def test_a_file_that_changes_meanwhile_is_not_translated(tree: Path, tmp_path: Path) -> None:
    store = Store((tmp_path / "store").as_uri())
    store.create()
    files = hashed(find_files([str(tree / "a.md")]))
    (tree / "a.md").write_text("Something else.")
    with pytest.raises(RequestError, match="changed while"):
        upload(files, store, "k")
    assert not store.exists("uploads/k/a.md")
