"""The neural kernel on this machine, compiled at set-up."""

from __future__ import annotations

from tradu.inference.marian import kernel
from tradu.inference.marian.build import NoKernelError


def build_kernel() -> str:
    """Compile the kernel if need be; a line about what came of it. Without it Firefox's models work, but slower."""
    try:
        return f"The neural kernel is ready ({kernel.kernel().path})"
    except NoKernelError as error:
        return f"Firefox's models will run one sentence at a time, which is many times slower: {error}"
