"""Measures each installed model, for include/models.yaml: `tradu models benchmark`, a process for each.

Run it on an idle machine: python tests/benchmarks/engines.py [MODEL...]
"""

from __future__ import annotations

import subprocess
import sys

from tradu.inference.registry import load_registry


def main() -> None:
    """Each model in a process of its own, so that memory counts from nothing."""
    registry = load_registry()
    for name in sys.argv[1:] or [m.name for m in registry.models() if registry.status(m).installed]:
        subprocess.run([sys.executable, "-m", "tradu.cli.main", "models", "benchmark", name], check=True)


if __name__ == "__main__":
    main()
