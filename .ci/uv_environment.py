"""Prints, as shell exports, what uv needs to find packages where pip finds them: uv does not read pip's configuration.

A UV_ variable that is set already is left alone. Only the standard library: nothing else is installed yet.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

# pip's option -> uv's variable and what separates several values in it
NAMES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
}
# later ones win in pip, the environment over all
ORDER = ("global", "install", ":env:")


def pip_options(listing: str) -> dict[str, str]:
    """The effective options in the output of `pip config list`."""
    found: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        match = re.fullmatch(r"(global|install|:env:)\.([a-z-]+)=(.*)", line.strip())
        if match:
            section, name, value = match[1], match[2], str(ast.literal_eval(match[3]))
            if ORDER.index(section) >= found.get(name, (-1, ""))[0]:
                found[name] = (ORDER.index(section), value)
    return {name: value for name, (_, value) in found.items()}


def _exists(place: str) -> bool:
    """False for a local folder that is not there: pip passes over it, uv stops."""
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path)).exists()
    return bool(parts.scheme) or Path(place).expanduser().exists()


def uv_variables(options: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Variables to set for uv, given pip's options and the variables that are there."""
    wanted: dict[str, str] = {}
    for option, (variable, separator) in NAMES.items():
        values = options.get(option, "").split()
        if option in ("extra-index-url", "find-links"):
            values = [value for value in values if _exists(value)]
        if values:
            wanted[variable] = separator.join(values)
    if "UV_INDEX" in wanted:
        # like pip: the best version of all indexes. Safe here, as every file's hash is in the lock
        wanted["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if "default-timeout" in options or "timeout" in options:
        wanted["UV_HTTP_TIMEOUT"] = options.get("timeout", options.get("default-timeout", ""))
    return {name: value for name, value in wanted.items() if name not in environment}


def main() -> None:
    """Print the exports."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)
    for name, value in uv_variables(pip_options(listing.stdout), os.environ).items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")


if __name__ == "__main__":
    main()
