"""Does a batch at the real process keep its promise over a kill, and its memory over two hundred thousand lines?"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.harness import Client, Site, free_port, number, text, until

MANY = 80_000
GROWTH = 40 << 20
"""What the daemon may grow by. The answers alone are 27 MiB, the body another 14."""

HEADERS = {"Content-Type": "application/x-ndjson"}

Json = dict[str, Any]


@pytest.fixture
def port(site: Site) -> int:
    """A running daemon that accepts, and sends next to nothing."""
    port = free_port()
    site.configure(
        site.carrier().url,
        rate="1/min",
        sections={"http": {"listen": [f"127.0.0.1:{port}"], "anonymous": ["send", "read"]}},
    )
    start(site, port)
    return port


def start(site: Site, port: int) -> None:
    """Until it answers on the socket, and listens to HTTP, too."""
    site.start()
    until(lambda: listens(port), "HTTP is listened to")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def line(n: int, **fields: Any) -> bytes:
    return json.dumps({"to": number(n), "text": text(n), **fields}).encode() + b"\n"


class Small(http.client.HTTPConnection):
    """A connection of which the system buffers next to nothing, so that the daemon must."""

    def connect(self) -> None:
        self.sock = socket.socket()
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            self.sock.setsockopt(socket.SOL_SOCKET, option, 32_768)
        self.sock.settimeout(60)
        self.sock.connect((self.host, self.port))


class SmallHandler(urllib.request.HTTPHandler):
    """urllib with such connections."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(Small, req)


def post(
    port: int, body: bytes, handler: type[urllib.request.HTTPHandler] = urllib.request.HTTPHandler
) -> Iterator[Json]:
    """By urllib, which writes everything before it reads."""
    opener = urllib.request.build_opener(handler)
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/messages/batch", body, HEADERS)
    with opener.open(request, timeout=60) as answer:
        for each in answer:
            yield json.loads(each)


def memory(site: Site, figure: str) -> int:
    """Bytes, from the process's own status."""
    assert site.process is not None
    status = Path(f"/proc/{site.process.pid}/status").read_text()
    return next(int(row.split()[1]) << 10 for row in status.splitlines() if row.startswith(figure))


def ids_of(answers: Iterable[Json]) -> list[str]:
    """In order, none missing, all accepted."""
    ids: list[str] = []
    for answer in answers:
        assert answer["ok"] and answer["index"] == len(ids), answer
        ids.append(answer["id"])
    return ids


def test_many_lines_by_urllib(site: Site, port: int) -> None:
    assert len(ids_of(post(port, b"".join(line(n) for n in range(2_000)), SmallHandler))) == 2_000
    body = b"".join(line(n) for n in range(MANY))
    before = memory(site, "VmRSS")
    began = time.perf_counter()
    ids = ids_of(post(port, body, SmallHandler))
    took = time.perf_counter() - began
    growth = memory(site, "VmHWM") - before
    print(f"\nurllib: {MANY / took:,.0f} lines/s durable; the daemon grew by {growth / 2**20:.1f} MiB")
    assert len(set(ids)) == MANY
    assert growth < GROWTH
    with site.client() as client:
        assert total(client) == MANY + 2_000


def test_a_kill_in_the_middle_and_a_repeat(site: Site, port: int) -> None:
    count = 10_000
    body = b"".join(line(n, idempotency_key=f"key {n}") for n in range(count))
    promised = half_of_it(site, port, body)
    assert 500 <= len(promised) < count
    start(site, port)
    answers = list(post(port, body))
    ids = ids_of(answers)
    assert ids[: len(promised)] == promised
    assert all(answer["replayed"] for answer in answers[: len(promised)])
    assert len(set(ids)) == count
    with site.client() as client:
        assert total(client) == count


def test_a_stop_tells_where_it_ends_and_a_repeat_takes_the_rest(site: Site, port: int) -> None:
    count = 60_000
    body = b"".join(line(n, idempotency_key=f"key {n}") for n in range(count))
    answers: list[Json] = []
    client = threading.Thread(target=lambda: answers.extend(post(port, body)))
    client.start()
    with site.client() as other:
        until(lambda: total(other) > 2_000, "some are taken")
    assert site.stop() == 0
    client.join(20)
    last = answers.pop()
    assert last["index"] == len(answers) < count
    assert last["error"]["code"] == "shutting_down"
    promised = ids_of(answers)
    start(site, port)
    with site.client() as other:
        assert total(other) == len(promised)
    repeated = list(post(port, body))
    assert ids_of(repeated)[: len(promised)] == promised
    assert [each["replayed"] for each in repeated] == [n < len(promised) for n in range(count)]


def half_of_it(site: Site, port: int, body: bytes) -> list[str]:
    """Send, read some answers, kill the daemon; the ids that it promised."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw, raw.makefile("rb") as answer:
        raw.sendall(
            b"POST /v1/messages/batch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body[: len(body) // 2]
        )
        rows = [answer.readline() for _ in range(600)]
        site.kill()
        with contextlib.suppress(ConnectionError):
            rows += answer.readlines()
    return [json.loads(row)["id"] for row in rows if row.startswith(b'{"index"') and row.endswith(b"}\n")]


def total(client: Client) -> int:
    """Messages in whatever state."""
    return sum(client.states().values())
