"""A peer of the ledger: procrastinate, a job queue on PostgreSQL (MIT), fetched on demand, doing nothing 4 at once.

It runs in processes of its own: python peer.py FOLDER DSN defer COUNT, or python peer.py FOLDER DSN work CONCURRENCY.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

PORTION = 1_000


def fetch(folder: Path) -> str:
    """Unpack it and what it depends on into a folder; its version."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(folder), "procrastinate"]
    subprocess.run(command, check=True)
    (metadata,) = folder.glob("procrastinate-*.dist-info")
    return metadata.name.removesuffix(".dist-info").replace("-", " ")


def start(folder: Path, dsn: str, *words: object) -> subprocess.Popen[str]:
    """One of its processes; it says a line when it is ready, and begins when it is given one."""
    command = [sys.executable, __file__, str(folder), dsn, *map(str, words)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def go(processes: list[subprocess.Popen[str]]) -> None:
    """Let them begin, and wait until all have ended."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.wait() == 0


def _app(dsn: str) -> Any:
    import logging

    import procrastinate

    logging.getLogger("procrastinate").setLevel(logging.ERROR)

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn))

    @app.task(name="nothing")
    async def nothing(number: int) -> None:
        pass

    return app


def _defer(app: Any, count: int) -> None:
    with app.open():
        app.schema_manager.apply_schema()
        _wait_for_go()
        for first in range(0, count, PORTION):
            jobs = [{"number": number} for number in range(first, min(count, first + PORTION))]
            app.configure_task("nothing").batch_defer(*jobs)


def _work(app: Any, concurrency: int) -> None:
    _wait_for_go()
    app.run_worker(wait=False, concurrency=concurrency, install_signal_handlers=False)


def _wait_for_go() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    # behind our own packages: the database driver is the one that Tradu uses
    sys.path.append(sys.argv[1])
    {"defer": _defer, "work": _work}[sys.argv[3]](_app(sys.argv[2]), int(sys.argv[4]))
