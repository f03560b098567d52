"""Is an application called as it must be, and nothing else, ever?"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from email.utils import formatdate
from ipaddress import ip_network

import pytest
import trustme

from smsd.engine.callout import LOOK_UPS, MAX_ANSWER, Callout, Look, Reply
from tests.doubles.receiver import OK, Got, Receiver, never, status

HERE = (ip_network("127.0.0.0/8"),)
UNROUTED = "2d00::1"
"""A public address by its form, of a block that nobody has."""


def names(*answers: Sequence[str]) -> Look:
    """What each look-up of any name brings; the last repeats."""
    left = list(answers)

    async def look(host: str) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return look


async def call(callout: Callout, url: str, timeout_ms: int = 3_000) -> Reply:
    try:
        return await callout.call(url, {"webhook-id": "evt_1"}, b'{"type": "x"}', timeout_ms)
    finally:
        assert callout.calls == 0


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = await Receiver().start()
    yield receiver
    await receiver.stop()


@pytest.fixture
async def callout() -> AsyncIterator[Callout]:
    callout = Callout(HERE)
    yield callout
    await callout.close()


async def test_what_is_called(receiver: Receiver, callout: Callout) -> None:
    url = f"http://127.0.0.1:{receiver.port}/told%2fx?b=1&a=%20"
    assert await call(callout, url) == Reply(204)
    assert await call(callout, url) == Reply(204)
    got, again = receiver.got
    assert got.line == "POST /told%2fx?b=1&a=%20 HTTP/1.1"
    assert got.body == again.body == b'{"type": "x"}'
    assert got.headers["content-type"] == "application/json"
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["webhook-id"] == "evt_1"
    assert receiver.connections == 1, "a connection is used again"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "2130706433", "0x7f.1", "0x7f000001", "017700000001", "127.1", "127.0.0.1."),
        *("0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]"),
        *("[2001:0:4136:e378:8000:63bf:80ff:fffe]", "169.254.169.254", "8.8.8.8@127.0.0.1", "a:b@127.0.0.1"),
        *("127.0.0.1\\@8.8.8.8", "[::]", "[fe80::1%25lo]", "10.0.0.1"),
    ],
)
async def test_no_spelling_of_a_private_host_is_called(host: str, receiver: Receiver) -> None:
    callout = Callout()
    found = await call(callout, f"http://{host}:{receiver.port}/told")
    await callout.close()
    assert found.refused and found.status is None
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        (UNROUTED, "127.0.0.1"),
        ("127.0.0.1", UNROUTED),
        (UNROUTED, "::1"),
        ("::ffff:127.0.0.1",),
        ("10.0.0.1",),
        ("fe80::1%lo",),
    ],
)
async def test_a_name_with_a_private_address_is_not_called(addresses: Sequence[str], receiver: Receiver) -> None:
    callout = Callout(look=names(addresses))
    found = await call(callout, f"http://shop.example:{receiver.port}/told")
    await callout.close()
    assert found.refused
    assert found.error is not None and "which is not a public address: allow it under" in found.error
    assert receiver.connections == 0


async def test_a_name_that_turns_private_at_the_second_look_is_not_called(receiver: Receiver) -> None:
    callout = Callout(look=names([UNROUTED], ["127.0.0.1"]))
    url = f"http://shop.example:{receiver.port}/told"
    first, second = await call(callout, url, 300), await call(callout, url)
    await callout.close()
    assert not first.refused and first.status is None, "it was tried, and is not there"
    assert second.refused
    assert receiver.connections == 0


async def test_the_connection_goes_to_what_was_checked(receiver: Receiver) -> None:
    looks: list[str] = []

    async def look(host: str) -> Sequence[str]:
        looks.append(host)
        return ["127.0.0.1"] if len(looks) == 1 else ["127.0.0.99"]

    callout = Callout(HERE, look)
    assert (await call(callout, f"http://shop.example:{receiver.port}/told")).status == 204
    await callout.close()
    assert looks == ["shop.example"], "the name is looked up once"
    assert receiver.got[0].headers["host"] == f"shop.example:{receiver.port}"


async def test_a_name_is_looked_up_by_the_system(receiver: Receiver) -> None:
    callout = Callout((*HERE, ip_network("::1")))
    assert (await call(callout, f"http://localhost:{receiver.port}/told")).status == 204
    there = await call(callout, "http://no-such-name.invalid/told")
    await callout.close()
    assert there.status is None and not there.refused
    assert there.error is not None and there.error.startswith("the name no-such-name.invalid cannot be resolved")


class Silent:
    """A name server, under the system's look-up, that answers only for names without "silent" until it is set free."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self.getaddrinfo)

    def getaddrinfo(self, host: str, *args: object, **kwargs: object) -> list[tuple[object, ...]]:
        if "silent" in host:
            self.free.wait(10)
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]


async def test_a_tenants_names_without_an_answer_hold_up_no_other(
    receiver: Receiver, callout: Callout, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Silent(monkeypatch)

    async def told(host: str, tenant: str) -> Reply:
        return await callout.call(f"http://{host}:{receiver.port}/told", {}, b"{}", 300, tenant)

    try:
        found = await asyncio.gather(*(told(f"{n}.silent.example", "evil") for n in range(LOOK_UPS)))
        assert Counter(each.postponed for each in found) == {True: LOOK_UPS // 2, False: LOOK_UPS // 2}
        late = await told("own.example", "evil")
        assert late == Reply(error="too many names are being looked up", postponed=True)
        assert await asyncio.gather(*(told(f"{n}.bank.example", "bank") for n in range(8))) == [Reply(204)] * 8
    finally:
        silent.free.set()
    async with asyncio.timeout(5):
        while (await told("own.example", "evil")).postponed:
            await asyncio.sleep(0.01)
    assert (await told("own.example", "evil")).status == 204


async def test_a_thread_that_cannot_be_begun_is_no_try_and_blocks_no_name(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    url = f"http://localhost:{receiver.port}/told"
    callout = Callout((*HERE, ip_network("::1")))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        found = await call(callout, url)
    assert found == Reply(error="no thread could be begun to look the name up", postponed=True)
    assert (await call(callout, url)).status == 204
    await callout.close()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(code: int, receiver: Receiver, callout: Callout) -> None:
    trap = await Receiver().start()
    receiver.answer = lambda got: status(code, f"Location: {trap.url}")
    assert await call(callout, receiver.url) == Reply(code)
    await trap.stop()
    assert trap.connections == 0
    assert len(receiver.got) == 1


async def test_cookies_are_not_kept_and_no_proxy_is_asked(
    receiver: Receiver, callout: Callout, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = await Receiver().start()
    monkeypatch.setenv("http_proxy", trap.url)
    receiver.answer = lambda got: status(200, "Set-Cookie: a=b; Path=/")
    await call(callout, receiver.url)
    await call(callout, receiver.url)
    await trap.stop()
    assert trap.connections == 0
    assert "cookie" not in receiver.got[1].headers


@pytest.mark.parametrize(
    ("header", "wait_ms"),
    [
        ("Retry-After: 7", 7_000),
        ("Retry-After: 99999999999999999999", 86_400_000),
        (f"Retry-After: {formatdate(1_000_090, usegmt=True)}\r\nDate: {formatdate(1_000_000, usegmt=True)}", 90_000),
        (f"Retry-After: {formatdate(1_000_000, usegmt=True)}\r\nDate: {formatdate(1_000_090, usegmt=True)}", 0),
        (f"Retry-After: {formatdate(1_000_000, usegmt=True)}", 0),
        ("Retry-After: soon", 0),
        ("Retry-After: -1", 0),
        ("Retry-After: \u0967", 0),
        ("X: y", 0),
    ],
)
async def test_the_wait_that_an_answer_asks_for(
    header: str, wait_ms: int, receiver: Receiver, callout: Callout
) -> None:
    receiver.answer = lambda got: f"HTTP/1.1 503 X\r\nContent-Length: 0\r\n{header}\r\n\r\n".encode()
    assert await call(callout, receiver.url) == Reply(503, wait_ms=wait_ms)


async def test_an_endless_body_is_cut() -> None:
    written = 0
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * MAX_ANSWER)
                await writer.drain()
                written += MAX_ANSWER
        except ConnectionError:
            ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    callout = Callout(HERE)
    assert await call(callout, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/") == Reply(200)
    await asyncio.wait_for(ended.wait(), 5)
    await callout.close()
    server.close()
    assert written < 16 << 20, "no more than the buffers between hold"


async def test_a_body_that_does_not_come_changes_nothing(receiver: Receiver, callout: Callout) -> None:
    receiver.answer = lambda got: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"
    assert await call(callout, receiver.url, 200) == Reply(200)


async def test_a_compressed_body_is_not_unpacked(receiver: Receiver, callout: Callout) -> None:
    receiver.answer = lambda got: status(200, "Content-Encoding: gzip", body=b"no gzip at all")
    assert await call(callout, receiver.url) == Reply(200)
    assert "accept-encoding" not in receiver.got[0].headers


async def test_one_that_never_answers(receiver: Receiver, callout: Callout) -> None:
    receiver.answer = never
    assert await call(callout, receiver.url, 100) == Reply(error="no answer within 100 ms")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"SSH-2.0-OpenSSH_9.2 hush\r\n\r\n", "not understood as HTTP"),
        (b"", "no answer within"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", "not understood as HTTP"),
    ],
)
async def test_what_is_no_answer(answer: bytes, error: str, receiver: Receiver, callout: Callout) -> None:
    receiver.answer = lambda got: answer
    found = await call(callout, f"{receiver.url}?key=hush", 200)
    assert found.status is None and not found.refused
    assert found.error is not None and found.error.startswith(error)
    assert "hush" not in found.error


async def test_nobody_listens(receiver: Receiver, callout: Callout) -> None:
    await receiver.stop()
    found = await call(callout, receiver.url)
    assert found == Reply(error=f"no connection to 127.0.0.1:{receiver.port} (Connection refused)")


class TestTls:
    CA = trustme.CA()

    def server(self, *hosts: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.CA.issue_cert(*hosts).configure_cert(context)
        return context

    async def told(self, context: ssl.SSLContext, *, trusted: bool = True) -> tuple[Reply, list[Got]]:
        receiver = await Receiver(tls=context).start()
        client = ssl.create_default_context()
        if trusted:
            self.CA.configure_trust(client)
        callout = Callout(HERE, names(["127.0.0.1"]), client)
        reply = await call(callout, f"https://shop.example:{receiver.port}/told")
        await callout.close()
        await receiver.stop()
        return reply, receiver.got

    async def test_the_name_is_what_counts(self) -> None:
        asked: list[str | None] = []
        context = self.server("shop.example")
        context.sni_callback = lambda sock, name, _: asked.append(name)
        reply, (got,) = await self.told(context)
        assert reply == Reply(204)
        assert asked == ["shop.example"]
        assert got.headers["host"].startswith("shop.example:")

    async def test_another_name(self) -> None:
        reply, got = await self.told(self.server("other.example", "127.0.0.1"))
        assert reply.status is None and reply.error is not None
        assert reply.error.startswith("the TLS certificate of shop.example is not accepted")
        assert got == []

    async def test_a_certificate_that_nobody_vouches_for(self) -> None:
        reply, got = await self.told(self.server("shop.example"), trusted=False)
        assert reply.status is None and reply.error is not None
        assert reply.error.startswith("the TLS certificate of shop.example is not accepted")
        assert got == []


async def test_answers_are_told_by_their_status_alone(receiver: Receiver, callout: Callout) -> None:
    receiver.answer = lambda got: OK
    found = await asyncio.gather(*(callout.call(receiver.url, {}, b"{}", 3_000) for _ in range(20)))
    assert {each.status for each in found} == {204}
