"""An engine in a process of its own, which is replaced when it has run out of memory, hangs or dies.

After an out-of-memory CUDA may stay unusable for the rest of a process; and what the kernel kills is not the worker.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, cast

from tradu.errors import ModelError, ResourceError, UnwantedError
from tradu.inference import deadline
from tradu.inference.engines._neural import Runs
from tradu.inference.made import Likelihood, Made
from tradu.inference.model import Model

log = logging.getLogger(__name__)
LONGEST_SECONDS = 600.0
"""A call that takes longer has hung: a batch may be held for not much more."""
Build = Callable[[Model], Runs]


class Child:
    """Runs a model in a child process; the next call after its end starts another."""

    shareable = False

    def __init__(self, model: Model, build: Build, longest_seconds: float = LONGEST_SECONDS) -> None:
        """`build` is a function of a module: the child imports it by its name.

        Raises:
            ModelError: the model can't be loaded.
            ResourceError: there is not enough memory for it.
        """
        self._model, self._build, self._longest_seconds = model, f"{build.__module__}:{build.__name__}", longest_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    @property
    def pid(self) -> int | None:
        """Of the child that runs now."""
        return self._process.pid if self._process else None

    def run(self, texts: Sequence[str]) -> list[Made]:
        """Translate each piece.

        Raises:
            ModelError: the engine failed, hung or died.
            ResourceError: it ran out of memory; it is started anew for the next call.
            UnwantedError: nobody wants it any more; the same.
        """
        return cast("list[Made]", self._call("run", list(texts)))

    def score(self, sources: Sequence[str], translations: Sequence[str]) -> list[Likelihood | None]:
        """How probable each translation is."""
        return cast("list[Likelihood | None]", self._call("score", list(sources), list(translations)))

    def close(self) -> None:
        """End the child. May be called twice."""
        if self._process is not None:
            self._pipe.close()
            self._process.kill()
            self._process.wait()
        self._process = None

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", __name__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self._pipe: Connection[Any, Any] = Connection(ours.detach())
        try:
            self._exchange((self._model, self._build))
        except (ModelError, ResourceError):
            self.close()
            raise

    def _call(self, method: str, *arguments: object) -> object:
        if self._process is None:
            self._start()
        return self._exchange((method, arguments))

    def _exchange(self, request: object) -> object:
        """Send, and receive the answer.

        Raises:
            ModelError: see `run`.
            ResourceError: see `run`.
            UnwantedError: see `run`.
        """
        name, seconds = self._model.name, min(self._longest_seconds, deadline.left())
        try:
            self._pipe.send(request)
            if not self._answers(seconds):
                self.close()
                raise ModelError(f"{name}: no answer in {seconds:.3g} s; its process was ended")
            failure, value = self._pipe.recv()
        except UnwantedError:
            self.close()
            raise
        except (EOFError, OSError):
            code = self._process.wait() if self._process else 0
            self.close()
            killed = ResourceError if code == -signal.SIGKILL else ModelError
            raise killed(f"{name}: its process ended ({code}); too little memory, if it was killed") from None
        if failure == "memory":
            self.close()
            raise ResourceError(f"{name}: out of memory: {value}")
        if failure:
            raise ModelError(f"{name}: {value}")
        return value

    def _answers(self, seconds: float) -> bool:
        """Whether the child has answered within the time.

        Raises:
            UnwantedError: nobody wants the answer any more.
        """
        end = time.monotonic() + seconds
        while not self._pipe.poll(max(0.0, min(end - time.monotonic(), deadline.LOOK_AGAIN_SECONDS))):
            deadline.check()
            if time.monotonic() >= end:
                return False
        return True


def _serve(pipe: Connection[Any, Any]) -> None:
    """What the child does until its parent hangs up."""
    model, build = pipe.recv()
    module, function = build.split(":")
    runs: Runs | None = None
    arguments: tuple[object, ...] = (model,)
    method: Callable[..., object] = getattr(import_module(module), function)
    while True:
        try:
            value = method(*arguments)
            runs = runs or cast("Runs", value)
            answer = "", None if value is runs else value
        except (MemoryError, ResourceError) as error:
            answer = "memory", str(error)
        except ModelError as error:
            answer = "failed", str(error)
        except Exception as error:
            log.warning("%s failed", model.name, exc_info=True)  # goes where the worker's log goes
            # before a model is loaded it has seen no text that its words could bring into the ledger
            said = f": {error}" if runs is None else "; the worker's log says more"
            answer = "failed", f"{type(error).__name__}{said}"
        pipe.send(answer)
        name, arguments = pipe.recv()
        method = getattr(runs, name)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        _serve(Connection(int(sys.argv[1])))
    except (EOFError, OSError):
        sys.exit(0)
