"""Limits of a container count as the machine's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradu.stack.host import GIB, cgroup_cores, cgroup_memory_limit, this_host


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/\n", {"memory.max": f"{2 * GIB}\n"}, 2 * GIB),
        # the limit of a parent holds for the child
        ("0::/a/b\n", {"memory.max": "max", "a/memory.max": f"{GIB}", "a/b/memory.max": f"{4 * GIB}"}, GIB),
        # version 1: a controller of its own
        ("5:cpu:/x\n4:memory:/x\n", {"memory/x/memory.limit_in_bytes": f"{3 * GIB}"}, 3 * GIB),
        ("", {}, None),
    ],
)
def test_the_smallest_memory_limit_counts(
    tmp_path: Path, membership: str, files: dict[str, str], limit: int | None
) -> None:
    (tmp_path / "self").write_text(membership)
    _write(tmp_path / "cgroup", files)
    assert cgroup_memory_limit(tmp_path / "cgroup", tmp_path / "self") == limit


def test_cpu_quota(tmp_path: Path) -> None:
    (tmp_path / "self").write_text("0::/a\n")
    _write(tmp_path / "cgroup", {"cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n"})
    assert cgroup_cores(tmp_path / "cgroup", tmp_path / "self") == 1.5


def test_this_host_has_something() -> None:
    host = this_host()
    assert host.cores >= 1
    assert host.memory_bytes > GIB / 4
