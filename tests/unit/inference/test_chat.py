"""Requests to servers: waiting, and what is read out of an answer."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tradu.errors import TransientError
from tradu.inference import deadline
from tradu.inference.engines._chat import Bucket, Chat, retry_after
from tradu.inference.engines.openai import _between, _stands_in, _translation
from tradu.inference.model import Model
from tradu.inference.pool import EnginePool

NOW = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7),
        ("Sat, 28 Nov 2026 12:00:30 GMT", 30),
        ("Sat, 28 Nov 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after(said: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": said}, NOW) == seconds


def test_requests_go_out_evenly() -> None:
    bucket = Bucket(60)
    assert [bucket.reserve(100.0) for _ in range(4)] == [0, 1, 2, 3]
    assert bucket.reserve(200.0) == 0
    bucket.pause(210.0)
    assert bucket.reserve(201.0) == 9
    assert [Bucket(None).reserve(5.0) for _ in range(3)] == [0, 0, 0]


def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_the_batch_is_held() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        chat = Chat(url, None, concurrency=2, per_minute=None, timeout_seconds=60)
        with deadline.within(0.5):
            answers = chat.ask([{}, {}, {}])
        with deadline.within(0):
            late = chat.ask([{}])
        chat.close()
    assert {type(answer) for answer in answers} == {TransientError}
    assert re.search(r"not answered in 0\.[45]\d* s", str(answers[0]))
    assert [str(answer) for answer in late] == ["no time left"]


@pytest.mark.parametrize(
    ("status", "told"),
    [(400, "400 from the server; the worker's log says more"), (404, "404 from the server: no model for Mrs Schmidt")],
)
def test_what_a_server_says_of_a_text_goes_into_the_log_alone(
    status: int, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b'{"error": {"message": "no model for Mrs Schmidt"}}')

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        chat = Chat(url, None, concurrency=1, per_minute=None, timeout_seconds=10)
        (answer,) = chat.ask([{}])
        chat.close()
        server.shutdown()
    assert str(answer) == told
    assert ("Mrs Schmidt" in caplog.text) == ("log" in told)


def test_a_server_is_not_asked_to_warm_up() -> None:
    options = {"url": "http://127.0.0.1:9/v1", "model": "m", "timeout": "1"}
    model = Model("llm", "1", "openai", "premium", "en", "pt", "none", 1, 1.0, options)
    pool = EnginePool()
    assert pool.warm([model]) == (), "nobody answers there"
    assert pool.held().models == ("llm@1",)
    pool.close()


@pytest.mark.parametrize(
    ("content", "translation"),
    [
        ("Olá.", "Olá."),
        ("<think>Hm, Portuguese.</think>\nOlá.", "Olá."),
        ('{"translation": "Ol\\u00e1 \\"você\\"."}', 'Olá "você".'),
        ('<think>x</think> { "translation" : "Olá" }\n', "Olá"),
        ('{"translation": "broken', '{"translation": "broken'),
    ],
)
def test_the_translation_in_an_answer(content: str, translation: str) -> None:
    assert _translation(content)[0] == translation


def test_log_probabilities_are_those_of_the_translation_alone() -> None:
    tokens = [('{"', -0.1), ("translation", -0.2), ('": "', -0.3), ("Ol", -1.0), ("á", -2.0), ('"}', -0.4)]
    _, start, end = _translation("".join(token for token, _ in tokens))
    assert _between(tokens, start, end) == [-1.0, -2.0]
    assert _between([("Olá", -1.5)], 0, 3) == [-1.5]


def test_a_term_is_a_whole_word() -> None:
    assert _stands_in("file", "The File is open.")
    assert not _stands_in("file", "Profiles.")
    assert _stands_in("C++", "In C++, yes")
