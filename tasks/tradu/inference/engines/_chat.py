"""Requests to a server of chat completions: so many at once, so many a minute, and again where that helps."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from tradu.errors import ModelError, TransientError
from tradu.inference import deadline

log = logging.getLogger(__name__)
FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.5, 30.0
TRY_AGAIN = frozenset({408, 409, 425, 429})
"""Besides 5xx."""
HOPELESS = frozenset({401, 403, 404, 405})
"""What is wrong is not the text: further requests would be answered the same."""
LONGEST_WORDS = 300
Body = Mapping[str, Any]


class HopelessError(ModelError):
    """The server refuses whatever it is asked."""


Answer = dict[str, Any] | ModelError | TransientError
"""What the server answers to one request, or why there is nothing."""


@dataclass(slots=True)
class Bucket:
    """A bucket of one token: requests go out evenly, `per_minute` of them in a minute; None: no bound."""

    per_minute: float | None
    _free_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reserve(self, now: float) -> float:
        """Take a place; how long to wait for it, seconds."""
        with self._lock:
            wait = max(0.0, self._free_at - now)
            if self.per_minute:
                self._free_at = max(self._free_at, now) + 60 / self.per_minute
            return wait

    def pause(self, until: float) -> None:
        """No request before this time: the server has asked for it."""
        with self._lock:
            self._free_at = max(self._free_at, until)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """The seconds that a server asks to wait (RFC 9110, 10.2.3: a number or a date); None: it says nothing."""
    said = headers.get("retry-after", "").strip()
    if said.isdecimal():
        return float(said)
    try:
        return max(0.0, (parsedate_to_datetime(said) - now).total_seconds()) if said else None
    except (ValueError, TypeError):
        return None


class Chat:
    """A server, with the connections to it. Threads may share it."""

    def __init__(
        self, url: str, key: str | None, *, concurrency: int, per_minute: float | None, timeout_seconds: float
    ) -> None:
        self._url, self._key, self._timeout = f"{url.rstrip('/')}/chat/completions", key, timeout_seconds
        headers = {"authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=concurrency)
        self._client = httpx.Client(headers=headers, limits=limits, timeout=timeout_seconds, follow_redirects=False)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="chat")
        self._bucket = Bucket(per_minute)
        self._answered_at = 0.0

    def ask(self, bodies: Sequence[Body]) -> list[Answer]:
        """The answer to each request, in their order, or why there is none.

        What all requests share ends them all: a wrong key, an unknown model, a server that answers nothing any more, or
        the end of the time that there is (`tradu.inference.deadline`).

        Raises:
            UnwantedError: nobody wants the answers any more. What was asked already is not waited for.
        """
        ended: list[Answer] = []
        last = time.monotonic() + deadline.left()

        def one(body: Body) -> Answer:
            if ended:
                return ended[0]
            begun = time.monotonic()
            if begun >= last:
                return TransientError(deadline.OVER)
            try:
                return self._one(body, min(last, begun + self._timeout))
            except HopelessError as error:
                ended.append(error)
                return error
            except ModelError as error:
                return error
            except TransientError as error:
                if self._answered_at < begun:
                    ended.append(error)
                return error

        asked = [self._pool.submit(copy_context().run, one, body) for body in bodies]
        while wait(asked, deadline.LOOK_AGAIN_SECONDS).not_done:
            deadline.check()
        deadline.check()
        return [each.result() for each in asked]

    def close(self) -> None:
        """End the connections. May be called twice."""
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    def _one(self, body: Body, end: float) -> dict[str, Any]:
        """One answer; what is transient is tried again until the end, by the monotonic clock.

        Raises:
            ModelError: the server refuses this request.
            TransientError: it was not answered in time, or nobody wants the answer any more.
        """
        begun, delay = time.monotonic(), FIRST_DELAY_SECONDS
        while True:
            self._wait(self._bucket.reserve(time.monotonic()), begun, end, "the rate limit")
            try:
                response = self._client.post(self._url, json=body, timeout=max(0.1, end - time.monotonic()))
            except httpx.TransportError as error:
                said, asked = f"no answer ({type(error).__name__})", None
            else:
                if response.is_success:
                    self._answered_at = time.monotonic()
                    return self._answer(response)
                said, asked = self._words(response), retry_after(response.headers, datetime.now(UTC))
                if response.status_code not in TRY_AGAIN and response.status_code < 500:
                    raise (HopelessError if response.status_code in HOPELESS else ModelError)(said)
            if asked is not None:
                self._bucket.pause(time.monotonic() + asked)
            self._wait(delay if asked is None else asked, begun, end, said)
            delay = min(2 * delay, LONGEST_DELAY_SECONDS)

    def _wait(self, seconds: float, begun: float, end: float, why: str) -> None:
        if time.monotonic() + seconds >= end:
            raise TransientError(f"{why}; not answered in {end - begun:.3g} s")
        deadline.sleep(seconds)

    def _answer(self, response: httpx.Response) -> dict[str, Any]:
        try:
            answer = response.json()
        except ValueError:
            raise ModelError("the server's answer is no JSON") from None
        if not isinstance(answer, dict):
            raise ModelError("the server's answer is no JSON object")
        return answer

    def _words(self, response: httpx.Response) -> str:
        """The status and what the server says to it, without the key. What is said of a request may quote its text, and
        goes into the log alone: these words go into the ledger."""
        text = response.text
        try:
            said = json.loads(text)
            error = said.get("error", said.get("detail", text)) if isinstance(said, dict) else text
            if isinstance(error, list):  # of FastAPI, which repeats the request: the document's text is left out
                error = "; ".join(str(each.get("msg", "")) for each in error if isinstance(each, dict))
            text = str(error.get("message", error) if isinstance(error, dict) else error)
        except ValueError:
            pass
        text = " ".join((text.replace(self._key, "***") if self._key else text).split())
        said = f"{response.status_code} from the server"
        if response.status_code in HOPELESS:
            return f"{said}: {text[:LONGEST_WORDS]}"
        log.warning("%s: %s", said, text[:LONGEST_WORDS])
        return f"{said}; the worker's log says more"
