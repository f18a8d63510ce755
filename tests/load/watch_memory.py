"""Samples the memory of every process of the local stack while a command runs; prints each one's peak (PSS, MiB)."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import defaultdict

import psutil

from tradu.settings import get_settings

HOME = str(get_settings().home.absolute())


def sample(peaks: dict[str, float]) -> None:
    """One look at every process of the stack: another one may run beside it."""
    for process in psutil.process_iter(["pid", "cmdline"]):
        try:
            if process.environ().get("TRADU_HOME") != HOME:
                continue
            name = " ".join(process.info["cmdline"] or [process.name()])[:60]
            peaks[name] = max(peaks[name], process.memory_full_info().pss / 2**20)
        except (psutil.Error, OSError):
            continue


def main() -> int:
    """`python tests/load/watch_memory.py COMMAND...`: the command's own exit code."""
    peaks: dict[str, float] = defaultdict(float)
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            sample(peaks)
            time.sleep(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.monotonic()
    code = subprocess.call(sys.argv[1:])
    done.set()
    watcher.join()
    for name, mib in sorted(peaks.items(), key=lambda p: -p[1])[:12]:
        print(f"{mib:8.0f} MiB  {name}")
    print(f"{time.monotonic() - started:.1f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
