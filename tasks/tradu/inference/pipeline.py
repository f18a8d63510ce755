"""A pipeline of programs kept alive: texts go in and come out one by one, each ended by a NUL byte."""

from __future__ import annotations

import os
import selectors
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from tradu.errors import ModelError

CHUNK_BYTES = 1 << 16


class Pipeline:
    """Programs joined by pipes, as a shell would join them, without a shell.

    Reading and writing take turns on one selector, so that full pipes never lock up; a program that dies, or a pipeline
    that says nothing for `idle_seconds`, ends it, and it can't be used again.
    """

    def __init__(self, commands: Sequence[Sequence[str]], env: Mapping[str, str] | None, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for command in commands:
                self._start(command, env)
        except OSError as error:
            self.close()
            raise ModelError(f"{command[0]} can't be started: {error.strerror}") from error

    def _start(self, command: Sequence[str], env: Mapping[str, str] | None) -> None:
        before = self._processes[-1].stdout if self._processes else None
        process = subprocess.Popen(
            list(command),
            stdin=before or subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            bufsize=0,
        )
        if before is not None:
            before.close()  # only the program that reads it holds it, so that its end is seen
        self._processes.append(process)

    @property
    def alive(self) -> bool:
        """Whether every program runs."""
        return bool(self._processes) and all(process.poll() is None for process in self._processes)

    def exchange(self, records: Sequence[bytes]) -> list[bytes]:
        """Send the records, none of which holds a NUL; the answers, in order.

        Raises:
            ModelError: the pipeline died, hung, or answered with another number of records; it is closed then.
        """
        if not self.alive:
            self.close()
            raise ModelError("the pipeline has ended")
        try:
            answers: list[bytes] = []
            rest = b""
            for chunk in self._flow(b"".join(record + b"\0" for record in records), len(records)):
                *whole, rest = (rest + chunk).split(b"\0")
                answers += whole
        except BaseException:
            self.close()
            raise
        if rest or len(answers) != len(records):
            self.close()
            raise ModelError(f"the pipeline gave {len(answers)} answers to {len(records)} texts")
        return answers

    def _flow(self, data: bytes, wanted: int) -> Iterator[bytes]:
        """Write all of it while reading, until as many NUL bytes came back as records were sent."""
        source, sink = self._processes[0].stdin, self._processes[-1].stdout
        if source is None or sink is None:
            raise ModelError("the pipeline has ended")
        os.set_blocking(source.fileno(), False)
        os.set_blocking(sink.fileno(), False)
        waiting = memoryview(data)
        with selectors.DefaultSelector() as selector:
            selector.register(sink, selectors.EVENT_READ)
            if waiting:
                selector.register(source, selectors.EVENT_WRITE)
            while wanted > 0:
                ready = {key.fileobj for key, _ in selector.select(self._idle_seconds)}
                if not ready:
                    raise ModelError(f"the pipeline hung: nothing for {self._idle_seconds:g} s")
                if source in ready:
                    waiting = waiting[self._write(source.fileno(), waiting) :]
                    if not waiting:
                        selector.unregister(source)
                if sink in ready:
                    chunk = os.read(sink.fileno(), CHUNK_BYTES)
                    if not chunk:
                        raise ModelError(f"the pipeline died: {self._obituary()}")
                    wanted -= chunk.count(b"\0")
                    yield chunk

    def _write(self, descriptor: int, data: memoryview) -> int:
        try:
            return os.write(descriptor, data[:CHUNK_BYTES])
        except BlockingIOError:
            return 0
        except BrokenPipeError as error:
            raise ModelError(f"the pipeline died: {self._obituary()}") from error

    def _obituary(self) -> str:
        codes = []
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                if process.wait(timeout=1) != 0:
                    codes.append(f"{os.path.basename(str(process.args[0]))} ended with {process.returncode}")  # type: ignore[index]
        return ", ".join(codes) or "a program ended early"

    def close(self) -> None:
        """End the programs. May be called twice."""
        for process in self._processes:
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            if process.poll() is None:
                process.kill()
        for process in self._processes:
            process.wait()
        self._processes = []
