"""What this machine, or the container around us, has: cores, memory, GPUs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 1024**2
GIB = 1024**3


@dataclass(frozen=True)
class Host:
    """What the stack may use of this machine."""

    cores: int
    memory_bytes: int
    gpus: int


def _cgroup_folders(root: Path, membership: Path) -> list[Path]:
    """The cgroup folders of this process, innermost first (version 2, or version 1's memory controller)."""
    folders: list[Path] = []
    lines = membership.read_text().splitlines() if membership.is_file() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base = root / "memory" if controllers else root
        inner = base / path.lstrip("/")
        folders += [f for f in (inner, *inner.parents) if f == base or base in f.parents]
    return [*folders, root, root / "memory"]


def cgroup_memory_limit(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int | None:
    """The smallest memory limit set on our cgroup or one around it, bytes; None when there is none."""
    limits = []
    for folder in _cgroup_folders(root, membership):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                text = (folder / name).read_text().strip()
            except OSError:
                continue
            if text.isdigit():  # version 2 says "max" where there is no limit
                limits.append(int(text))
    return min(limits, default=None)


def cgroup_cores(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """The smallest CPU quota (cgroup version 2) set on us or around us, in cores; None when there is none."""
    quotas = []
    for folder in _cgroup_folders(root, membership):
        try:
            quota, period = (folder / "cpu.max").read_text().split()
        except (OSError, ValueError):
            continue
        if quota.isdigit():
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def gpu_count() -> int:
    """GPUs that NVML sees; 0 without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()


def gpu_memory_bytes() -> int:
    """Memory of the smallest GPU that NVML sees; 0 without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return min((int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) for handle in handles), default=0)
    finally:
        pynvml.nvmlShutdown()


def this_host() -> Host:
    """Cores and memory within every limit set on this process, and its GPUs."""
    cores = len(os.sched_getaffinity(0))
    quota = cgroup_cores()
    if quota is not None:
        cores = max(1, min(cores, round(quota)))
    memory = psutil.virtual_memory().total
    limit = cgroup_memory_limit()
    return Host(cores, min(memory, limit) if limit else memory, gpu_count())
