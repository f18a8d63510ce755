"""Compiling the kernel: once for an environment, with the machine's C compiler or with Zig's from PyPI."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tradu.errors import ModelError
from tradu.settings import get_settings

SOURCES = Path(__file__).resolve().parent / "native"
HOW_TO_ADD = "install a C compiler (apt-get install gcc) or `pip install ziglang`, then run `tradu setup`"
_TIMEOUT_SECONDS = 600
_COMMON = [
    "-std=gnu11",
    "-O3",
    "-fPIC",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-strict-aliasing",
    "-Wall",
    "-Wextra",
    "-Wno-psabi",
    "-Wno-unknown-warning-option",
]
_AVX512 = "-mavx512f -mavx512bw -mavx512dq -mavx512vl"
_X86_PATHS = {
    "avx512vnni": f"{_AVX512} -mavx512vnni -DTRADU_AVX512VNNI",
    "avx512": f"{_AVX512} -DTRADU_AVX512",
    "avxvnni": "-mavx2 -mavxvnni -DTRADU_AVXVNNI",
    "avx2": "-mavx2 -DTRADU_AVX2",
    "saturating": "-mavx2 -DTRADU_SATURATING",
}
_PATHS = {"portable": ""}


class NoKernelError(ModelError):
    """The neural kernel is not built, and can't be built here."""


def library() -> Path:
    """The kernel's library, built now if it is not there yet.

    Raises:
        NoKernelError: it is not there and can't be built.
    """
    if path := built():
        return path
    folder = _writable()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of many workers that start together one builds
        return built() or _build(folder, _name())


def built() -> Path | None:
    """The library, where it was built already."""
    return next((path for folder in _folders() if (path := folder / _name()).is_file()), None)


def compilers() -> Iterator[list[str]]:
    """The commands that compile C here: $CC, the usual names, Zig's."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and shutil.which(name.split()[0]):
            yield name.split()
    if importlib.util.find_spec("ziglang"):
        # without this Zig compiles for the processor it runs on, and the library would run on no older one
        yield [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline", "-fno-sanitize=undefined"]


def _build(folder: Path, name: str) -> Path:
    found = list(compilers())
    if not found:
        raise NoKernelError(f"the neural kernel is not built, and there is no C compiler: {HOW_TO_ADD}")
    failures = []
    for compiler in found:
        with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as place:
            try:
                made = _compile(compiler, Path(place))
            except (OSError, subprocess.SubprocessError) as error:
                said = getattr(error, "stderr", None) or str(error)
                failures.append(f"{compiler[0]}: {str(said).strip()[-600:]}")
                continue
            made.replace(folder / name)
            _forget_others(folder, name)
            return folder / name
    raise NoKernelError(f"the neural kernel can't be built: {'; '.join(failures)}; {HOW_TO_ADD}")


def _compile(compiler: list[str], place: Path) -> Path:
    """Each instruction set is a compilation of its own; all go into one library, which chooses at run time."""
    environment = os.environ | {
        "ZIG_GLOBAL_CACHE_DIR": str(place / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(place / "zig"),
    }

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [*compiler, *arguments]
        return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)

    def finish(process: subprocess.Popen[str]) -> None:
        _, said = process.communicate(timeout=_TIMEOUT_SECONDS)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args, stderr=said)

    objects = [str(place / "choose.o")]
    running = [start(*_COMMON, "-c", str(SOURCES / "choose.c"), "-o", objects[0])]
    for path, flags in _paths().items():
        objects.append(str(place / f"{path}.o"))
        running.append(
            start(*_COMMON, *flags.split(), f"-DTRADU_PATH={path}", "-c", str(SOURCES / "path.c"), "-o", objects[-1])
        )
    for process in running:
        finish(process)
    finish(start("-shared", "-o", str(place / "marian.so"), *objects, "-lm"))
    return place / "marian.so"


def _forget_others(folder: Path, name: str) -> None:
    """Remove the libraries of other versions; processes that have one open keep it."""
    for other in folder.glob("marian-*.so"):
        if other.name != name:
            other.unlink(missing_ok=True)


def _name() -> str:
    """The library's file name; it changes with the sources, the flags and the processor's family."""
    digest = hashlib.sha256(repr((platform.machine(), _COMMON, _paths())).encode())
    for file in sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")]):
        digest.update(file.read_bytes())
    return f"marian-{digest.hexdigest()[:16]}.so"


def _paths() -> dict[str, str]:
    """The instruction sets to compile for, each with its flags."""
    return _PATHS | (_X86_PATHS if platform.machine() == "x86_64" else {})


def _folders() -> tuple[Path, ...]:
    """Where the library may be: with the environment's packages, or in Tradu's home where these are another user's."""
    own = (Path(sys.prefix) / "lib" / "tradu",) if sys.prefix != sys.base_prefix else ()
    return (*own, get_settings().home / "native")


def _writable() -> Path:
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise NoKernelError(f"the neural kernel can't be built: none of {', '.join(map(str, _folders()))} can be written")
