"""What a process that is killed while it writes leaves behind: nothing among the objects that people get."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tradu.layout import INCOMING
from tradu.store import Store

KILLED = """
import os, signal, sys
from tradu.store import Store

with Store(sys.argv[1]).writing("output/job/pt/letter.txt") as stream:
    stream.write(b"half a letter")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_unfinished_lies_among_the_outputs(tmp_path: Path) -> None:
    store = Store((tmp_path / "store").as_uri())
    store.create()
    subprocess.run([sys.executable, "-c", KILLED, store.uri], check=False)
    left = [path.relative_to(store.root).as_posix() for path in Path(store.root).rglob("*") if path.is_file()]
    assert len(left) == 1
    assert left[0].startswith(INCOMING)
