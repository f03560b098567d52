"""Do the benchmark's own processes speak what the daemon speaks, and count right?"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from smsd.bench import references
from smsd.bench.load import Answers, Result, recipient, text
from smsd.bench.site import Carrier, Child, Deadline, Load, MeasureError
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
