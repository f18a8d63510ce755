"""Building the kernel: what happens without a compiler, and with one that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tradu.inference.marian import build
from tradu.inference.marian.build import NoKernelError


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build, "_folders", lambda: (tmp_path / "native",))
    monkeypatch.delenv("CC", raising=False)
    return tmp_path / "native"


def test_without_a_compiler_the_remedy_is_named(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "compilers", lambda: iter(()))
    with pytest.raises(NoKernelError, match=r"no C compiler: .*pip install ziglang.*tradu setup"):
        build.library()


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [sys.executable, "-c", "import sys; sys.exit('no such header')"]
    monkeypatch.setattr(build, "compilers", lambda: iter([broken, ["/no/such/compiler"]]))
    with pytest.raises(NoKernelError, match=r"no such header.*compiler"):
        build.library()
    assert [path.name for path in elsewhere.iterdir()] == ["lock"]


def test_what_is_there_is_not_built_again(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "compilers", lambda: iter(()))
    made = elsewhere / build._name()
    made.parent.mkdir()
    made.write_bytes(b"")
    assert build.library() == made


def test_the_sources_compile_without_warnings() -> None:
    compiler = next(build.compilers(), None)
    if compiler is None:
        pytest.skip("NOT TESTED: no C compiler here")
    for path, flags in build._paths().items():
        strict = ["-Werror", "-Wshadow", "-fsyntax-only", f"-DTRADU_PATH={path}", *flags.split()]
        for source in build.SOURCES.glob("*.c"):
            command = [*compiler, *build._COMMON, *strict, str(source)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(build, "_folders", lambda: (tmp_path / "file" / "native",))
    with pytest.raises(NoKernelError, match=r"none of .*native can be written"):
        build.library()
