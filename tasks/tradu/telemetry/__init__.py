"""Structured logs: one JSON object a line, with the ids of what is being worked on."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

_CHAIN: list[structlog.types.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


@contextmanager
def bound(**ids: object) -> Iterator[None]:
    """Adds ids (job_id, document_id, block_id, request_id, ...) to every log line of the block."""
    with structlog.contextvars.bound_contextvars(**ids):
        yield


def log_json(**ids: object) -> None:
    """Make this process log to stderr as JSON lines, each with these ids."""
    structlog.contextvars.bind_contextvars(**ids)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                _add_ids(ids),
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
            foreign_pre_chain=_CHAIN,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)


def _add_ids(ids: dict[str, object]) -> structlog.types.Processor:
    """Threads of the process do not inherit its context variables: the ids of the process go on every line."""

    def add(_logger: object, _name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        return {**ids, **event}

    return add
