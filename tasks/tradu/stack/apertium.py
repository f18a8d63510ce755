"""Sets up Apertium: from the machine's packages as root, unpacked into Tradu's home by an ordinary user."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tradu.errors import ModelError
from tradu.inference.apertium_files import PACKAGES, Installation, find, unpacked
from tradu.inference.engines.apertium import ApertiumEngine

ADD = f"apt-get install --no-install-recommends {' '.join(PACKAGES)}"
"""What a person with root would run."""
TIMEOUT_SECONDS = 600
_SIMULATED = re.compile(r"^Inst (\S+)", re.MULTILINE)
_TRIALS = {
    "eng-spa": ("The house is red.", "casa"),
    "spa-cat": ("La casa es roja.", "casa"),
    "es-pt": ("La casa es roja.", "casa"),
    "fr-es": ("La maison est rouge.", "casa"),
    "eng-cat": ("The house is red.", "casa"),
}
"""For each package a mode, a sentence, and a word its translation must hold."""


def install_apertium(home: Path) -> list[str]:
    """Make Apertium usable; quick where it is already.

    Never fails for want of it: what can't be had is left out, and the lines returned, which are meant for the user,
    say so and give the command that adds it.

    Args:
        home: Tradu's home; an ordinary user's packages are unpacked in `home/apertium`.
    """
    if not (missing := _not_working(home)):
        return [f"Apertium is ready ({_place(home)})"]
    if shutil.which("apt-get") is None:
        return _left_out("this machine has no apt-get", f"install with your package manager: {', '.join(PACKAGES)}")
    try:
        if os.geteuid() == 0:
            _install()
        else:
            _unpack(home)
    except (subprocess.SubprocessError, OSError) as error:
        return _left_out(_cause(error))
    if missing := _not_working(home):
        return _left_out(f"installed, but a trial failed: {'; '.join(missing)}")
    return [f"Apertium is ready ({_place(home)})"]


def _left_out(cause: str, remedy: str = f"as root: {ADD}") -> list[str]:
    return [f"Apertium is left out: {cause}. Pairs that need it are not available; to add it, {remedy}"]


def _place(home: Path) -> str:
    installation = find(home, "eng-spa")
    return "from the machine's packages" if installation and installation.root == Path("/") else f"in {unpacked(home)}"


def _not_working(home: Path) -> list[str]:
    """What a trial translation found wrong, mode by mode."""
    return [fault for mode, (text, word) in _TRIALS.items() if (fault := _fault(home, mode, text, word))]


def _fault(home: Path, mode: str, text: str, word: str) -> str:
    installation = find(home, mode)
    if installation is None:
        return f"{mode} is missing"
    try:
        translated = _tried(installation, mode, text)
    except ModelError as error:
        return str(error)
    return "" if word in translated.lower() else f"{mode} turned {text!r} into {translated!r}"


def _tried(installation: Installation, mode: str, text: str) -> str:
    engine = ApertiumEngine(mode, installation.commands(mode), installation.environment(), idle_seconds=30)
    try:
        return engine.translate([text])[0]
    finally:
        engine.close()


def _install() -> None:
    """As root: the machine's package manager; its lists are fetched where it doesn't know the packages."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "--no-install-recommends"]
    if subprocess.run([*command, "-s", *PACKAGES], capture_output=True, env=env, check=False).returncode:
        _run(["apt-get", "update"], env)
    _run([*command, *PACKAGES], env)


def _unpack(home: Path) -> None:
    """Without root: the packages and what they need and the machine lacks, unpacked below Tradu's home.

    apt works on lists and an archive cache of its own, and on the machine's knowledge of what is installed.
    """
    base = home / "apertium"
    lists, archives = base / "lists", base / "archives"
    for folder in (lists / "partial", archives / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    options = [
        f"-oDir::State::lists={lists}",
        f"-oDir::Cache={base}",
        f"-oDir::Cache::archives={archives}",
        "-oDebug::NoLocking=1",
    ]
    _run(["apt-get", *options, "update"])
    simulation = _run(["apt-get", *options, "install", "-s", "--no-install-recommends", *PACKAGES])
    wanted = sorted({*_SIMULATED.findall(simulation), *PACKAGES})
    _run(["apt-get", *options, "download", *wanted], cwd=archives)
    tree = base / "unpacking"
    shutil.rmtree(tree, ignore_errors=True)
    for package in sorted(archives.glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(tree)])
    shutil.rmtree(unpacked(home), ignore_errors=True)
    tree.rename(unpacked(home))
    for folder in (lists, archives):
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run(
        list(command), capture_output=True, text=True, env=env, cwd=cwd, timeout=TIMEOUT_SECONDS, check=True
    )
    return done.stdout


def _cause(error: subprocess.SubprocessError | OSError) -> str:
    """The last thing the program said."""
    if isinstance(error, subprocess.CalledProcessError):
        said = [line for line in f"{error.stdout}\n{error.stderr}".splitlines() if line.strip()]
        return f"{error.cmd[0]} failed: {said[-1] if said else error.returncode}"
    return str(error)
