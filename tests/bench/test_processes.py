"""Do the benchmark's own processes speak what the daemon speaks, and count right?"""

from __future__ import annotations

import http.client
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from smsd.bench import references
from smsd.bench.http_load import BatchAnswers, head
from smsd.bench.load import Answers, Result, line, recipient, text
from smsd.bench.processes import Child, Deadline, MeasureError
from smsd.bench.site import Carrier, Load, http_load
from smsd.bench.stand_in import ACCOUNT, SENDER, TOKEN
from smsd.core.message import Encoding
from smsd.core.verdict import Fate
from smsd.providers.base import Absent, Call, Found, Request, Response
from smsd.providers.twilio import Twilio


@pytest.fixture(scope="module")
def carrier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Carrier]:
    with Carrier(Deadline(60), tmp_path_factory.mktemp("carrier"), 0) as running:
        yield running


def twilio(carrier: Carrier) -> Twilio:
    return Twilio("main", ACCOUNT, TOKEN, carrier.url)


def call(number: int) -> Call:
    return Call(
        id="m",
        attempt=1,
        recipient=recipient(number),
        sender=SENDER,
        text=text(number),
        encoding=Encoding.GSM7,
        segments=1,
        expires_at=0,
        now=round(time.time() * 1_000),
    )


def perform(request: Request) -> Response:
    url = urlsplit(request.url)
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    try:
        connection.request(request.method, f"{url.path}?{url.query}", request.body, dict(request.headers))
        answer = connection.getresponse()
        return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def test_the_adapter_understands_the_stand_in(carrier: Carrier) -> None:
    dialect, one, other = twilio(carrier), call(2_345_678), call(2_345_679)
    carrier.forget()
    assert isinstance(dialect.find(perform(dialect.ask(one)), one), Absent)
    before = time.monotonic_ns()
    verdict = dialect.classify(perform(dialect.prepare(one)))
    assert (verdict.fate, verdict.provider_message_id) == (Fate.ACCEPTED, f"SM{2_345_678:032x}")
    assert verdict.segments == 1
    dialect.classify(perform(dialect.prepare(one)))
    assert carrier.arrived() == 1
    ((number, at),) = carrier.arrivals().items()
    assert number == 2_345_678
    assert before < at < time.monotonic_ns()
    assert dialect.find(perform(dialect.ask(one)), one) == Found((f"SM{2_345_678:032x}",))
    assert isinstance(dialect.find(perform(dialect.ask(other)), other), Absent)


def test_requests_may_come_in_pieces_and_together(carrier: Carrier) -> None:
    carrier.forget()
    body = f"To=%2B12012345678&From=x&Body={text(2_345_680).replace(' ', '+')}".encode()
    request = b"POST /2010-04-01/x HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    host, port = urlsplit(carrier.url).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        for piece in (request[:20], request[20:-5], request[-5:] + request, request):
            connection.sendall(piece)
            time.sleep(0.02)  # so that the pieces arrive as pieces
        answers = b""
        while answers.count(b"HTTP/1.1 201") < 3:
            answers += connection.recv(65_536)
    assert carrier.arrived() == 1


def test_a_slow_carrier_takes_its_time(tmp_path: Path) -> None:
    with Carrier(Deadline(30), tmp_path, 50) as slow:
        dialect, one = twilio(slow), call(2_345_681)
        began = time.monotonic()
        perform(dialect.prepare(one))
        assert time.monotonic() - began >= 0.05


def test_a_load_is_answered_and_timed(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    deadline = Deadline(30)
    with Child(deadline, tmp_path, "smsd.bench.references", "lines", path) as door:
        assert door.line() == "ready"
        given = ("--socket", path, "--first", "2000000", "--count")
        with Load(deadline, tmp_path, *given, "1300") as fast:
            result = fast.run(10)
        assert (result.answered, result.refused, result.sent) == (1_300, 0, [])
        assert result.began < result.ended
        with Load(deadline, tmp_path, *given, "11", "--rate", "100") as even:
            result = even.run(10)
        assert len(result.sent) == result.answered == 11
        assert (result.sent[-1] - result.sent[0]) / 1e9 == pytest.approx(0.1, abs=0.05)


def test_a_load_that_cannot_connect_says_so(tmp_path: Path) -> None:
    given = ("--socket", str(tmp_path / "s"), "--first", "2000000", "--count", "1")
    with Load(Deadline(30), tmp_path, *given) as load, pytest.raises(MeasureError, match="FileNotFoundError"):
        load.run(10)


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_answers_are_counted_wherever_the_stream_is_cut(cut: int) -> None:
    stream = b'{"ok":true,"id":"1"}\n{"ok":false,"error":"why"}\n{"ok":false}\n{"ok":true}\n'
    result = Result()
    answers = Answers(result)
    for at in range(0, len(stream), cut):
        answers.feed(stream[at : at + cut])
    assert (result.answered, result.refused) == (4, 2)
    assert result.refusal == '{"ok":false,"error":"why"}'


def test_the_end_of_a_stream_is_an_error() -> None:
    with pytest.raises(ConnectionResetError):
        Answers(Result()).feed(b"")


def test_the_bare_programs_run(tmp_path: Path, carrier: Carrier) -> None:
    assert references.commits(tmp_path / "bare.db", 0.1) > 0
    with Child(Deadline(30), tmp_path, "smsd.bench.references", "posts", carrier.send_url, "0.1") as client:
        assert float(client.line()) > 0


# -- by HTTP


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """The bare doors, name -> port."""
    directory, deadline = tmp_path_factory.mktemp("doors"), Deadline(60)
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(Child(deadline, directory, "smsd.bench.references", name))
            for name in ("http", "web")
        }
        yield {name: int(door.line()) for name, door in running.items()}


@pytest.mark.parametrize(("door", "batch"), [("http", False), ("web", False), ("http", True)])
def test_a_load_by_http_is_answered(door: str, batch: bool, doors: dict[str, int], tmp_path: Path) -> None:
    with http_load(Deadline(30), tmp_path, doors[door], 2_000_000, 1_300, batch=batch) as load:
        result = load.run(10)
    assert (result.answered, result.refused) == (1_300, 0)
    assert result.began < result.ended


class OneAnswer(socketserver.BaseRequestHandler):
    """Says the same to each request, whose body is one message, and then closes."""

    answer = b""

    def handle(self) -> None:
        data = b""
        while not data.endswith((b"}", b"}\n")):
            some = self.request.recv(65_536)
            if not some:
                return  # whoever asked has gone
            data += some
        self.request.sendall(self.answer)


@pytest.mark.parametrize(
    ("batch", "answer", "said"),
    [
        (False, b'HTTP/1.1 401 No\r\nContent-Length: 13\r\n\r\n{"status":401}', "refused 1 messages.* 401 No"),
        (False, b"", "the daemon closed a connection"),
        (True, b'HTTP/1.1 401 No\r\nContent-Length: 13\r\n\r\n{"status":401}', "answered with HTTP/1.1 401 No .*401"),
        (True, b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"ok":true}\n\n', "answered with HTTP/1.1 200 OK"),
        (True, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "the daemon closed the connection"),
        (
            True,
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n{"ok":false}\n\r\n0\r\n\r\n',
            'refused 1 messages, the first with {"ok":false}',
        ),
    ],
)
def test_a_refusal_by_http_is_told(batch: bool, answer: bytes, said: str, tmp_path: Path) -> None:
    handler = type("Handler", (OneAnswer,), {"answer": answer})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            port = server.server_address[1]
            with (
                http_load(Deadline(30), tmp_path, port, 2_000_000, 1, batch=batch) as load,
                pytest.raises(MeasureError, match=said),
            ):
                load.run(10)
        finally:
            server.shutdown()
            serving.join()


@pytest.mark.parametrize("cut", range(1, 120, 7))
def test_answers_to_a_batch_are_counted_wherever_the_stream_is_cut(cut: int) -> None:
    chunks = [b'{"index":0,"ok":true}\n{"index":1,"ok":fa', b'lse,"error":{}}\n', b'{"index":2,"ok":true}\n' * 9]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks)
    stream = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"
    result = Result()
    answers = BatchAnswers(result)
    for at in range(0, len(stream), cut):
        answers.feed(stream[at : at + cut])
    assert (result.answered, result.refused) == (11, 1)
    assert result.refusal == '{"index":1,"ok":false,"error":{}}'


def test_the_door_made_by_hand_answers_what_came_in_pieces(doors: dict[str, int]) -> None:
    """A batch cut inside its head, a line and a number; then a post on the same connection."""
    lines = b"".join(line(number, {}) for number in range(2_000_000, 2_000_005))
    post = line(2_000_005, {})
    stream = head("/v1/messages/batch", 1, "t", "application/x-ndjson", len(lines)) + lines
    stream += head("/v1/messages", 1, "t", "application/json", len(post)) + post
    with socket.create_connection(("127.0.0.1", doors["http"]), timeout=10) as connection:
        at = len(stream) - len(head("/v1/messages", 1, "t", "application/json", len(post))) - len(post)
        for piece in (stream[:30], stream[30:250], stream[250:at], stream[at : at + 9], stream[at + 9 :]):
            connection.sendall(piece)
            time.sleep(0.02)  # so that the pieces arrive as pieces
        answers = b""
        while answers.count(b'"ok":true') < 6:
            answers += connection.recv(65_536)
    assert [n for n in range(6) if recipient(2_000_000 + n).encode() not in answers] == []
    assert answers.count(b"0\r\n\r\nHTTP/1.1 202 Accepted") == 1
