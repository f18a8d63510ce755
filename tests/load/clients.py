"""Open-loop load: requests go to Airflow's REST API when they are due, however long the ones before them take.

What is late because the line is slow counts as the line's: latencies are taken from the intended start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fixtures.stack import Stack
from load.make_documents import sentences
from tradu.cli.watch import DAG
from tradu.errors import TraduError
from tradu.ledger.jobs import JobRequest, conf_of

CLIENTS = 16
PARAGRAPH = 4
"""Sentences."""


@dataclass(frozen=True)
class Request:
    """A job that somebody will ask for."""

    key: str
    after_seconds: float
    """From the start of the load to when it is due."""
    document: str
    tenant: str = "default"
    priority: int = 5


@dataclass(frozen=True)
class Sent:
    """What became of a request. Times are Unix times."""

    request: Request
    due_at: float
    sent_at: float
    run_id: str = ""
    refused: str = ""
    """Why it was not even sent, or not taken."""


Door = Callable[[Request], str]
"""Why a request must not be sent now; empty: it may."""


def texts(characters: int, first: int = 0) -> Iterator[str]:
    """Documents of real English of about this length, of sentences that occur nowhere else: each has its number."""
    pool, number = sentences(), first
    while True:
        paragraphs, size = list[str](), 0
        while size < characters:
            some = [f"In part {number + n}, {_small(pool[(number + n) % len(pool)])}" for n in range(PARAGRAPH)]
            number += PARAGRAPH
            paragraphs.append(" ".join(some))
            size += len(paragraphs[-1])
        yield "\n\n".join(paragraphs)


def _small(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def send(stack: Stack, requests: Sequence[Request], started_at: float, door: Door = lambda _: "") -> list[Sent]:
    """Send every request when it is due; returns when all are sent."""

    def one(request: Request) -> Sent:
        due = started_at + request.after_seconds
        time.sleep(max(0.0, due - time.time()))
        if why := door(request):
            return Sent(request, due, time.time(), refused=why)
        asked = JobRequest(
            [request.document], ["es"], request.key, source="en", profile="economy", tenant=request.tenant,
            priority=request.priority,
        )  # fmt: skip
        try:
            return Sent(request, due, time.time(), stack.api.trigger(DAG, conf_of(asked)))
        except TraduError as error:
            return Sent(request, due, time.time(), refused=str(error))

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(one, sorted(requests, key=lambda r: r.after_seconds)))
